"""Binomial errors: the yield of chips with an exact interval, and the error of an accuracy on a finite test set."""

import math
from dataclasses import dataclass

from aimc_robust.errors import require_finite, require_whole
from aimc_robust.statistics.t_interval import CONFIDENCE


@dataclass(frozen=True)
class Yield:
    """Percentage of chips that are at least as good as `threshold`, with its 95 % interval.

    The interval is Clopper and Pearson's: for a number of chips fixed in advance its coverage is never below 95 %,
    whatever the distribution of the values. It is valid for further chips of the given models (`covers`), not for
    newly trained models. For several models it is the yield over all their chips; differences between their yields
    only make the interval wider than necessary (Hoeffding, Ann. Math. Statist. 27, 713 (1956): a count of trials with
    unequal probabilities varies less than the binomial).

    Attributes:
        share: Yield [percent].
        ci: 95 % interval of the yield [percent]; NaN with a single chip per model.
        passing: Number of chips, of the `chips` of all models, that are at least as good as the threshold.
        covers: Population of the interval, "chips of this model" or "chips of these models".
    """

    share: float
    ci: tuple[float, float]
    passing: int
    chips: int
    threshold: float
    covers: str


def clopper_pearson(successes: int, trials: int) -> tuple[float, float]:
    """Exact two-sided 95 % interval, within [0, 1], of a binomial proportion.

    Raises:
        InputError: if there is no trial, or more successes than trials.

    References:
        Clopper and Pearson, Biometrika 26, 404 (1934).
    """
    require_whole("trials", trials, low=1)
    require_whole("successes", successes, low=0, high=trials)
    from scipy import stats  # takes a second to import

    low, high = stats.binomtest(successes, trials).proportion_ci(CONFIDENCE, method="exact")
    return float(low), float(high)


def sampling_half_width(accuracy: float, images: int) -> float:
    """Half-width [percentage points] of the 95 % interval that a finite test set leaves on an accuracy [percent].

    Binomial: 1.96 sqrt(p (1 - p) / n), with p clipped to [1/n, 1 - 1/n]. For a mean over chips, where an image's score
    lies between right and wrong, this is an upper bound. It adds to the interval over chips or models, which is
    conditional on the given images.

    Raises:
        InputError: if an argument is invalid.

    References:
        Miller, Adding error bars to evals, arXiv 2411.00640.
    """
    require_finite("accuracy", accuracy, high=100.0)
    require_whole("images", images, low=1)
    one_image = min(1.0 / images, 0.5)
    p = min(max(accuracy / 100.0, one_image), 1.0 - one_image)
    return 196.0 * math.sqrt(p * (1.0 - p) / images)
