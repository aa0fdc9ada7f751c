"""Nested variance components: how much accuracy varies between chips of a model, and between models beyond that."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from aimc_robust.errors import InputError
from aimc_robust.statistics.t_interval import CONFIDENCE, ROUNDING

TAIL = (1.0 - CONFIDENCE) / 2


@dataclass(frozen=True)
class VarianceComponents:
    """Variances [points squared] of accuracy = mean + model + chip within model, all independent.

    noise: of chips within a model, pooled over models; NaN where no model has two chips.
    seed: of models beyond what noise leaves in their means; NaN with a single model or without `noise`. An unbiased
        estimate, so it may be NEGATIVE: the models' means then differ less than chips alone would make them. It is
        shown as such, since cutting it at 0 would overstate it on average.
    noise_ci: 95 % interval of the noise variance; share_ci: of `share`. Both are exact for normal accuracies and a
        number of chips fixed beforehand. A tail of bad chips makes the variance less certain than noise_ci says.

    `AccuracyEstimate.sd_seed` is another thing: the spread of the chip means as they come. With N chips per model
    sd_seed^2 = seed + noise / N, exactly. And sd_noise averages the models' standard deviations, of which sqrt(noise)
    is the root mean square (weighted by their degrees of freedom).
    """

    noise: float
    seed: float
    noise_ci: tuple[float, float]
    share_ci: tuple[float, float]

    @property
    def noise_sd(self) -> float:
        """Standard deviation between chips of a model [points]."""
        return math.sqrt(self.noise)

    @property
    def seed_sd(self) -> float:
        """Standard deviation between models beyond noise [points]; NaN where the component is negative."""
        return math.sqrt(self.seed) if self.seed >= 0.0 else math.nan

    @property
    def seed_text(self) -> str:
        """`seed_sd` to show: "0.84", "negative (variance -0.12)", or a dash where it cannot be known."""
        if math.isnan(self.seed):
            return "–"
        return f"{self.seed_sd:.2f}" if self.seed >= 0.0 else f"negative (variance {self.seed:.2g})"

    @property
    def share(self) -> float:
        """Share of the models in the variance of one chip of a new model, seed / (seed + noise); may be negative."""
        total = self.seed + self.noise
        return self.seed / total if total > 0.0 else math.nan


def variance_components(models: Sequence[np.ndarray]) -> VarianceComponents:
    """One-way random-effects analysis of variance by the method of moments; numbers of chips may differ.

    noise = SSW / (N - S) and seed = (SSB / (S - 1) - noise) / n0 with n0 = (N - sum N_i^2 / N) / (S - 1), where SSW
    and SSB are the sums of squares within and between S models of N_i chips, N in all.
    models: for each model the accuracies of its chips [percent], at least one. Raises InputError for an empty model.
    Source: Searle, Casella, McCulloch, Variance Components (1992), chapter 3.6; intervals: chi-square for the noise,
    Wald's for the ratio of the two (Ann. Math. Statist. 11, 96 (1940); balanced: the usual F interval).
    """
    models = [np.asarray(values, dtype=float) for values in models]
    if not models or any(values.ndim != 1 or len(values) == 0 for values in models):
        raise InputError("variance components need a list of models, each a list of at least one accuracy.")
    counts = np.array([len(values) for values in models])
    means = np.array([values.mean() for values in models])
    total, degrees = counts.sum(), int(counts.sum()) - len(models)
    if degrees == 0:
        return VarianceComponents(math.nan, math.nan, (math.nan, math.nan), (math.nan, math.nan))
    rest = np.concatenate([values - mean for values, mean in zip(models, means, strict=True)])
    rest[np.abs(rest) <= ROUNDING * max(np.abs(values).max() for values in models)] = 0.0
    within = float((rest**2).sum())
    noise = within / degrees
    noise_ci = tuple(within / float(special.chdtri(degrees, 1.0 - level)) for level in (1.0 - TAIL, TAIL))
    if len(models) == 1:
        return VarianceComponents(noise, math.nan, noise_ci, (math.nan, math.nan))
    between = float((counts * (means - counts @ means / total) ** 2).sum()) / (len(models) - 1)
    typical = (total - (counts**2).sum() / total) / (len(models) - 1)
    low, high = _ratio_interval(counts, means, noise, degrees)
    return VarianceComponents(noise, float((between - noise) / typical), noise_ci, (low / (1 + low), high / (1 + high)))


def _ratio_interval(counts: np.ndarray, means: np.ndarray, noise: float, degrees: int) -> tuple[float, float]:
    """Wald's exact 95 % interval of r = seed / noise; NaN without noise.

    At the true r the model means have variance noise / w_i with w_i = 1 / (r + 1 / N_i), so that their weighted mean
    square over `noise` follows F; it falls as r rises, and each limit is where it meets a quantile of F.
    """
    if noise == 0.0:
        return math.nan, math.nan

    def f_of(ratio: float) -> float:
        weights = 1.0 / (ratio + 1.0 / counts)
        return float(weights @ (means - weights @ means / weights.sum()) ** 2) / ((len(counts) - 1) * noise)

    low, high = (float(special.fdtri(len(counts) - 1, degrees, level)) for level in (1.0 - TAIL, TAIL))
    least = (1e-9 - 1.0) / counts.max()  # a smaller ratio would give some model's mean a negative variance
    return _crossing(f_of, low, least), _crossing(f_of, high, least)


def _crossing(falling: Callable[[float], float], level: float, least: float) -> float:
    """Where a function that falls to 0 meets `level` > 0; `least` where it starts below."""
    if falling(least) <= level:
        return least
    above = 1.0
    while falling(above) > level:
        above *= 4.0
    from scipy import optimize  # slow to import, and seldom needed

    return float(optimize.brentq(lambda ratio: falling(ratio) - level, least, above, xtol=1e-12, rtol=1e-10))
