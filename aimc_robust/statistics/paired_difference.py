"""Paired difference of two methods on the same seeds, chips and images."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from aimc_robust.errors import InputError
from aimc_robust.statistics.accuracy_estimate import AccuracyEstimate
from aimc_robust.statistics.crossed_effects import CrossedEffects, chip_matrix


@dataclass(frozen=True)
class PairedDifference:
    """Difference first - second with its 95 % interval.

    Whether it is settled depends on all comparisons that are made beside it: see `compare_pairs`.

    Attributes:
        mean: Mean difference [percentage points].
        ci: 95 % interval of the mean [percentage points]; NaN without replication.
        seeds: Number of trained models of each.
        p_value: Two-sided p value of a true difference of 0: below 0.05 exactly where `ci` excludes 0. NaN without an
            interval or without spread.
        pairs: Number of (seed, chip) pairs that both have.
    """

    mean: float
    ci: tuple[float, float]
    seeds: int
    p_value: float
    pairs: int

    @property
    def covers(self) -> Literal["models", "chips"]:
        """Population of `ci`: `models`, or `chips` if there is a single model."""
        return "models" if self.seeds > 1 else "chips"


def paired_difference(first: AccuracyEstimate, second: AccuracyEstimate) -> PairedDifference:
    """Compute first - second [percentage points], paired by (seed, chip), so that shared effects cancel.

    The interval is that of `AccuracyEstimate.ci`, applied to the differences: over models that meet the same chips, or
    over chips with one model. If a pilot decided the number of chips of either, the differences of the (smaller) pilot
    give the standard deviation over the chips of one model. This is exact as for one estimate: what two pilots decide
    from their spreads is independent of the mean difference.

    Raises:
        InputError: if the two share no (train_seed, chip) pair.

    References:
        Miller, Adding error bars to evals, arXiv 2411.00640.
    """
    seeds, chips, differences = _pairs(first, second)
    if len(seeds) == 0:
        raise InputError(
            "the two estimates share no (train_seed, chip) pair; evaluate both on the same seeds and chips."
        )
    effects = CrossedEffects(chip_matrix(seeds, chips, differences))
    error = effects.mean_error(min((e.pilot for e in (first, second) if e.pilot is not None), default=None))
    mean, half_width = float(effects.model_means.mean()), error.half_width()
    lowest, highest = first.bounds[0] - second.bounds[1], first.bounds[1] - second.bounds[0]
    low, high = np.clip([mean - half_width, mean + half_width], lowest, highest)
    return PairedDifference(mean, (float(low), float(high)), len(effects.matrix), error.p_value(mean), len(differences))


def _pairs(first: AccuracyEstimate, second: AccuracyEstimate) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Seeds, chips, and first - second, of the (seed, chip) pairs that both have, in ascending order."""
    (seeds1, chips1, values1), (seeds2, chips2, values2) = first.sorted_rows, second.sorted_rows
    span = 1 + max(chips1.max(), chips2.max())
    keys1, keys2 = seeds1 * span + chips1, seeds2 * span + chips2
    if np.array_equal(keys1, keys2):  # the common case
        return seeds1, chips1, values1 - values2
    _, rows1, rows2 = np.intersect1d(keys1, keys2, assume_unique=True, return_indices=True)
    return seeds1[rows1], chips1[rows1], values1[rows1] - values2[rows2]
