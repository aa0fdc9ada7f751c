"""Yield: which share of chips reaches an accuracy, with an exact interval."""

from dataclasses import dataclass

from scipy import special

from aimc_robust.errors import require_whole
from aimc_robust.statistics.t_interval import CONFIDENCE


@dataclass(frozen=True)
class Yield:
    """The share of chips [percent] whose accuracy is at least `threshold` [percent], and its 95 % interval [percent].

    The interval is Clopper and Pearson's: for a number of chips fixed beforehand never below 95 % coverage, whatever
    the accuracies' distribution. It holds for further chips of the models at hand (`covers`), not for newly trained
    models. With several models it is the yield over all their chips; that their own yields differ only makes the
    interval wider than needed (Hoeffding, Ann. Math. Statist. 27, 713 (1956): the count of unlike chips varies less
    than the binomial).
    """

    share: float
    ci: tuple[float, float]
    above: int  # chips that reach the threshold
    chips: int  # chips of all models
    threshold: float
    covers: str  # "chips of this model" or "chips of these models"


def clopper_pearson(successes: int, trials: int) -> tuple[float, float]:
    """The exact two-sided 95 % interval of a binomial share, within 0 and 1.

    Each limit is the share at which a count as far out as `successes` has probability 2.5 %; quantiles of beta
    distributions. Raises InputError unless 0 <= successes <= trials and trials >= 1.
    Source: Clopper and Pearson, Biometrika 26, 404 (1934).
    """
    require_whole("trials", trials, low=1)
    require_whole("successes", successes, low=0, high=trials)
    tail = (1.0 - CONFIDENCE) / 2
    low = special.betaincinv(successes, trials - successes + 1, tail) if successes > 0 else 0.0
    high = special.betaincinv(successes + 1, trials - successes, 1.0 - tail) if successes < trials else 1.0
    return float(low), float(high)
