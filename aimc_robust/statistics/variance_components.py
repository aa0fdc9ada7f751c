"""Nested variance components: variance of accuracy between chips of one model and between models."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from aimc_robust.errors import InputError
from aimc_robust.statistics.t_interval import CONFIDENCE, ROUNDING_TOLERANCE

TAIL = (1.0 - CONFIDENCE) / 2


@dataclass(frozen=True)
class VarianceComponents:
    """Variance components [percentage points squared] of accuracy = mean + model effect + chip effect, independent.

    `AccuracyEstimate.sd_seed` is a different quantity: the standard deviation of the observed chip means. With N chips
    per model sd_seed^2 = seed + noise / N, exactly. And `sd_noise` averages the standard deviations of the models, of
    which sqrt(noise) is the root mean square (weighted by their degrees of freedom).

    Both intervals are exact for normally distributed accuracies and a number of chips fixed in advance. Skewed
    accuracies make the variance less certain than `noise_ci` states.

    Attributes:
        noise: Variance between chips of one model, pooled over models; NaN if no model has two chips.
        seed: Variance between models beyond what chip noise leaves in their means; NaN with a single model or without
            `noise`. It is an unbiased estimate and may be NEGATIVE: the means then differ less than chip noise alone
            predicts. It is not clipped at 0, which would overestimate it on average.
        noise_ci: 95 % interval of `noise`.
        share_ci: 95 % interval of `share`.
    """

    noise: float
    seed: float
    noise_ci: tuple[float, float]
    share_ci: tuple[float, float]

    @property
    def noise_sd(self) -> float:
        """Standard deviation between chips of one model [percentage points]."""
        return math.sqrt(self.noise)

    @property
    def seed_sd(self) -> float:
        """Standard deviation between models beyond chip noise [percentage points]; NaN if `seed` is negative."""
        return math.sqrt(self.seed) if self.seed >= 0.0 else math.nan

    @property
    def seed_text(self) -> str:
        """`seed_sd` as text: "0.84", "negative (variance -0.12)", or a dash if it is unknown."""
        if math.isnan(self.seed):
            return "–"
        return f"{self.seed_sd:.2f}" if self.seed >= 0.0 else f"negative (variance {self.seed:.2g})"

    @property
    def share(self) -> float:
        """Fraction seed / (seed + noise) of the variance of one chip of a new model; may be negative."""
        total = self.seed + self.noise
        return self.seed / total if total > 0.0 else math.nan


def variance_components(models: np.ndarray | Sequence[ArrayLike]) -> VarianceComponents:
    """Estimate variance components by one-way random-effects analysis of variance (method of moments).

    noise = SSW / (N - S) and seed = (SSB / (S - 1) - noise) / n0 with n0 = (N - sum N_i^2 / N) / (S - 1), where SSW
    and SSB are the sums of squares within and between S models with N_i chips, N in total.

    Args:
        models: For each model the accuracies of its chips [percent], at least one. Numbers of chips may differ.

    Returns:
        The components with their intervals: chi-square for the noise, Wald's for the ratio of the two.

    Raises:
        InputError: if there is no model or a model has no chips.

    References:
        Searle, Casella, McCulloch, Variance Components (1992), chapter 3.6.
        Wald, Ann. Math. Statist. 11, 96 (1940); for equal numbers of chips it is the usual F interval.
    """
    values = [np.asarray(model, dtype=float) for model in models]
    if not values or any(model.ndim != 1 or len(model) == 0 for model in values):
        raise InputError(f"models must be a list of models, each a list of at least one accuracy, got {models!r:.80}.")
    counts = np.array([len(model) for model in values])
    means = np.array([model.mean() for model in values])
    total, degrees_of_freedom = counts.sum(), int(counts.sum()) - len(values)
    if degrees_of_freedom == 0:
        return VarianceComponents(math.nan, math.nan, (math.nan, math.nan), (math.nan, math.nan))
    residuals = np.concatenate([model - mean for model, mean in zip(values, means, strict=True)])
    residuals[np.abs(residuals) <= ROUNDING_TOLERANCE * max(np.abs(model).max() for model in values)] = 0.0
    within = float((residuals**2).sum())
    noise = within / degrees_of_freedom
    noise_ci = (
        within / float(special.chdtri(degrees_of_freedom, TAIL)),
        within / float(special.chdtri(degrees_of_freedom, 1.0 - TAIL)),
    )
    if len(values) == 1:
        return VarianceComponents(noise, math.nan, noise_ci, (math.nan, math.nan))
    between = float((counts * (means - counts @ means / total) ** 2).sum()) / (len(values) - 1)
    effective_chips = (total - (counts**2).sum() / total) / (len(values) - 1)
    seed = float((between - noise) / effective_chips)
    low, high = _ratio_interval(counts, means, noise, degrees_of_freedom)
    return VarianceComponents(noise, seed, noise_ci, (low / (1 + low), high / (1 + high)))


def _ratio_interval(
    counts: np.ndarray, means: np.ndarray, noise: float, degrees_of_freedom: int
) -> tuple[float, float]:
    """Wald's exact 95 % interval of r = seed / noise; NaN without noise.

    At the true r the model means have variance noise / w_i with w_i = 1 / (r + 1 / N_i), so their weighted mean square
    over `noise` is F distributed. It decreases in r, and each limit is where it equals a quantile of F.
    """
    if noise == 0.0:
        return math.nan, math.nan

    def f_statistic(ratio: float) -> float:
        weights = 1.0 / (ratio + 1.0 / counts)
        return float(weights @ (means - weights @ means / weights.sum()) ** 2) / ((len(counts) - 1) * noise)

    low, high = (float(special.fdtri(len(counts) - 1, degrees_of_freedom, p)) for p in (1.0 - TAIL, TAIL))
    minimum = (1e-9 - 1.0) / counts.max()  # a smaller ratio would give some model's mean a negative variance
    return _solve_decreasing(f_statistic, low, minimum), _solve_decreasing(f_statistic, high, minimum)


def _solve_decreasing(function: Callable[[float], float], level: float, minimum: float) -> float:
    """Argument at which a function that decreases to 0 equals `level` > 0; `minimum` if it starts below `level`."""
    if function(minimum) <= level:
        return minimum
    upper = 1.0
    while function(upper) > level:
        upper *= 4.0
    from scipy import optimize  # slow to import and rarely needed

    return float(optimize.brentq(lambda ratio: function(ratio) - level, minimum, upper, xtol=1e-12, rtol=1e-10))
