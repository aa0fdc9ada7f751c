"""The difference of two methods on the same trained-model seeds, chips and images."""

import math
from dataclasses import dataclass

import numpy as np

from aimc_robust.errors import InputError
from aimc_robust.statistics.accuracy_estimate import AccuracyEstimate
from aimc_robust.statistics.grouping import by_model, means
from aimc_robust.statistics.t_interval import t_interval, t_p_value


@dataclass(frozen=True)
class PairedDifference:
    """mean and 95 % interval of first - second [percentage points], over the `seeds` trained models of each.

    p_value: two-sided, of the paired t test on what the interval is over (models, or the chips of one); NaN where
    there is no interval, or no spread. pairs: (seed, chip) pairs that both have.
    """

    mean: float
    ci: tuple[float, float]
    seeds: int
    p_value: float = math.nan
    pairs: int = 0

    @property
    def settled(self) -> bool:
        """Whether the interval leaves out 0; False where there is none, or where too few values gave it no width."""
        low, high = self.ci
        return low < high and (low > 0 or high < 0)


def paired_difference(first: AccuracyEstimate, second: AccuracyEstimate) -> PairedDifference:
    """Paired by (seed, chip): what both share, such as a bad chip, cancels.

    The interval is that of `AccuracyEstimate.ci`, on the differences: over models, or over chips with one model; where
    a pilot decided how many chips followed, for either, the differences of the (smaller) pilot give the spread. That
    is exact as for one estimate: what two pilots decide from their spreads is independent of the mean difference.
    Raises InputError when the two share no pair. Source: Miller, Adding error bars to evals, arXiv 2411.00640.
    """
    seeds, differences = _pairs(first, second)
    if len(seeds) == 0:
        raise InputError("the two estimates share no (seed, chip) pair; evaluate both on the same seeds and chips.")
    model_means = means(by_model(seeds, differences))
    several = len(model_means) > 1
    values = model_means if several else differences
    pilot = None if several else min((e.pilot for e in (first, second) if e.pilot is not None), default=None)
    return PairedDifference(
        mean=float(model_means.mean()),
        ci=t_interval(values, pilot),
        seeds=len(model_means),
        p_value=t_p_value(values, pilot),
        pairs=len(differences),
    )


def _pairs(first: AccuracyEstimate, second: AccuracyEstimate) -> tuple[np.ndarray, np.ndarray]:
    """Seeds, and first - second, of the (seed, chip) pairs that both have, in rising order."""
    (seeds, chips, left), (other_seeds, other_chips, right) = first.sorted_rows, second.sorted_rows
    span = 1 + max(chips.max(), other_chips.max())
    keys, other_keys = seeds * span + chips, other_seeds * span + other_chips
    if np.array_equal(keys, other_keys):  # by far the most
        return seeds, left - right
    _, mine, others = np.intersect1d(keys, other_keys, assume_unique=True, return_indices=True)
    return seeds[mine], left[mine] - right[others]
