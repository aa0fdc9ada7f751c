"""Binomial errors: the yield of chips with an exact interval, and the error of an accuracy on a finite test set."""

import math
from dataclasses import dataclass

from scipy import special  # scipy.stats has the same quantiles but takes a second to import

from aimc_robust.errors import InputError, require_finite, require_whole
from aimc_robust.statistics.t_interval import CONFIDENCE


@dataclass(frozen=True)
class Yield:
    """Percentage of chips that are at least as good as `threshold`, with its 95 % interval.

    The interval is Clopper and Pearson's: for a number of chips fixed in advance its coverage is never below 95 %,
    whatever the distribution of the values. It is valid for further chips of the given models (`covers`), not for
    newly trained models. Several models meet the same chips, and one that is bad may be so for all of them: the
    interval is that of as many chips as a single model has (the fewest), see `share_interval`.

    Attributes:
        share: Yield [percent]: the mean over models of the share of their chips.
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
    return share_interval(successes / trials, trials)


def share_interval(share: float, chips: int) -> tuple[float, float]:
    """Clopper and Pearson's interval of a share of `chips` independent chips; each chip may pass in part.

    A chip that only some of several models pass counts in part. The interval then covers at least 95 % whether all
    models agree on every chip (where it is exact), or not at all (where it is wider than necessary): verified by
    summing over the distributions of shares, not proven.
    """
    passing, tail = share * chips, 0.5 * (1.0 - CONFIDENCE)
    low = special.betaincinv(passing, chips - passing + 1.0, tail) if share > 0.0 else 0.0
    high = special.betainccinv(passing + 1.0, chips - passing, tail) if share < 1.0 else 1.0
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


def yield_bounds(passing: int, chips: int) -> tuple[float, float]:
    """Exact one-sided 95 % bounds, within [0, 1], of the yield: a lower bound and, taken alone, an upper bound.

    Each bound on its own holds with a confidence of 95 %; the two together are no 95 % interval.

    Raises:
        InputError: if there is no chip, or more chips pass than there are.

    References:
        Clopper and Pearson, Biometrika 26, 404 (1934).
    """
    require_whole("chips", chips, low=1)
    require_whole("passing", passing, low=0, high=chips)
    low = special.betaincinv(passing, chips - passing + 1, 1.0 - CONFIDENCE) if passing else 0.0
    high = special.betaincinv(passing + 1, chips - passing, CONFIDENCE) if passing < chips else 1.0
    return float(low), float(high)


def allowed_failures(chips: int, required: float) -> int:
    """Return how many of `chips` may fail for a lower bound of the yield (0 to 1) of `required`; -1: not even none."""
    failures = -1
    while failures + 1 < chips and yield_bounds(chips - failures - 1, chips)[0] >= required:
        failures += 1
    return failures


def chips_for_yield(required: float, failures: int = 0) -> int:
    """Return the smallest number of chips that shows a yield (0 to 1) although so many of them fail.

    Raises:
        InputError: if `required` is not above 0 and below 1: no number of chips shows a yield of 1.
    """
    if not 0.0 < required < 1.0:
        raise InputError(
            f"a yield that chips can show lies above 0 and below 1, such as 0.95 for 95 % of them; got {required!r}."
        )
    chips = failures + 1
    while yield_bounds(chips - failures, chips)[0] < required:
        chips += 1
    return chips
