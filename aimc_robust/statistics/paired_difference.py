"""Paired difference of two methods on the same seeds, chips and images."""

import math
from dataclasses import dataclass

import numpy as np

from aimc_robust.errors import InputError
from aimc_robust.statistics.accuracy_estimate import AccuracyEstimate
from aimc_robust.statistics.grouping import group_by_model, model_means
from aimc_robust.statistics.t_interval import t_interval, t_p_value


@dataclass(frozen=True)
class PairedDifference:
    """Difference first - second with its 95 % interval.

    Attributes:
        mean: Mean difference [percentage points].
        ci: 95 % interval of the mean [percentage points]; NaN without replication.
        seeds: Number of trained models of each.
        p_value: Two-sided p value of the paired t test over the units of `ci` (models, or the chips of one model); NaN
            without an interval or without spread.
        pairs: Number of (seed, chip) pairs that both have.
    """

    mean: float
    ci: tuple[float, float]
    seeds: int
    p_value: float = math.nan
    pairs: int = 0

    @property
    def settled(self) -> bool:
        """Whether the interval excludes 0; False without an interval or if its width is 0."""
        low, high = self.ci
        return low < high and (low > 0 or high < 0)


def paired_difference(first: AccuracyEstimate, second: AccuracyEstimate) -> PairedDifference:
    """Compute the difference of two estimates paired by (seed, chip), so that shared effects cancel.

    The interval is that of `AccuracyEstimate.ci`, applied to the differences: over models, or over chips with one
    model. If a pilot decided the number of chips of either, the differences of the (smaller) pilot give the standard
    deviation. This is exact as for one estimate: what two pilots decide from their spreads is independent of the mean
    difference.

    Args:
        first: Minuend.
        second: Subtrahend.

    Returns:
        The difference [percentage points].

    Raises:
        InputError: if the two share no (seed, chip) pair.

    References:
        Miller, Adding error bars to evals, arXiv 2411.00640.
    """
    seeds, differences = _pairs(first, second)
    if len(seeds) == 0:
        raise InputError("the two estimates share no (seed, chip) pair; evaluate both on the same seeds and chips.")
    means = model_means(group_by_model(seeds, differences))
    several_models = len(means) > 1
    values = means if several_models else differences
    pilots = [estimate.pilot for estimate in (first, second) if estimate.pilot is not None]
    pilot = None if several_models else min(pilots, default=None)
    return PairedDifference(
        mean=float(means.mean()),
        ci=t_interval(values, pilot),
        seeds=len(means),
        p_value=t_p_value(values, pilot),
        pairs=len(differences),
    )


def _pairs(first: AccuracyEstimate, second: AccuracyEstimate) -> tuple[np.ndarray, np.ndarray]:
    """Seeds, and first - second, of the (seed, chip) pairs that both have, in ascending order."""
    (seeds1, chips1, values1), (seeds2, chips2, values2) = first.sorted_rows, second.sorted_rows
    span = 1 + max(chips1.max(), chips2.max())
    keys1, keys2 = seeds1 * span + chips1, seeds2 * span + chips2
    if np.array_equal(keys1, keys2):  # the common case
        return seeds1, values1 - values2
    _, rows1, rows2 = np.intersect1d(keys1, keys2, assume_unique=True, return_indices=True)
    return seeds1[rows1], values1[rows1] - values2[rows2]
