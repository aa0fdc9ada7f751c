"""Crossed variance components: variance of accuracy between models, between chips, and beyond both."""

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from aimc_robust.statistics.crossed_effects import CrossedEffects
from aimc_robust.statistics.t_interval import LEVEL


@dataclass(frozen=True)
class VarianceComponents:
    """Variance components [percentage points squared] of accuracy = mean + model effect + chip effect + residual.

    All models meet the same chips, so a chip effect is common to them; the residual is what a chip costs one model in
    addition. `AccuracyEstimate.sd_seed` is a different quantity: the standard deviation of the observed chip means.
    With N chips per model sd_seed^2 = seed + residual / N, exactly: what the chips do to all models alike does not
    show in it. `sd_noise` averages the standard deviations of the models, of which sqrt(noise) is the root mean square
    (weighted by their degrees of freedom).

    Estimates are unbiased, whatever chips each model has, and may be NEGATIVE (`seed`, `chip`): the means then differ
    less than the residuals alone predict. They are not clipped at 0, which would overestimate them on average.

    Attributes:
        noise: Variance between chips of one model, pooled over models; NaN if no model has two chips. Its expectation
            is chip + residual.
        seed: Variance between models beyond what a finite number of chips leaves in their means; NaN with a single
            model or without `noise`.
        chip: Variance of the chip effects; NaN with a single model and where models share no chips, because it is then
            part of `residual`.
        residual: Variance beyond both.
        noise_ci: 95 % interval of `noise` for normally distributed accuracies and a number of chips fixed in advance:
            chi-square's with a single model, else that of Graybill and Wang. Skewed accuracies make the variance less
            certain than it states.

    References:
        Graybill and Wang, J. Am. Stat. Assoc. 75, 869 (1980).
    """

    noise: float
    seed: float
    chip: float
    residual: float
    noise_ci: tuple[float, float]

    @property
    def seed_text(self) -> str:
        """Square root of `seed` as text: "0.84", "negative (variance -0.12)", or a dash if it is unknown."""
        if math.isnan(self.seed):
            return "–"
        return f"{math.sqrt(self.seed):.2f}" if self.seed >= 0.0 else f"negative (variance {self.seed:.2g})"


def variance_components(effects: CrossedEffects) -> VarianceComponents:
    """Estimate variance components by the analysis of variance of crossed models and chips (method of moments).

    Args:
        effects: The accuracies [percent] as a matrix of models and chips.
    """
    (within, within_df), (residual, residual_df) = effects.within, effects.residual
    noise = within / within_df if within_df > 0 else math.nan
    # `noise` is a weighted sum of independent mean squares, of chips and of residuals.
    parts = np.array([within - residual, residual]) / max(within_df, 1)
    dfs = np.array([within_df - residual_df, residual_df])
    low, high = ((1.0 - dfs / _chi_square(dfs, tail)) * parts for tail in (LEVEL / 2, 1.0 - LEVEL / 2))
    return VarianceComponents(
        noise=noise,
        seed=effects.model_variance,
        chip=effects.chip_variance if residual_df > 0 else math.nan,
        residual=effects.residual_variance,
        noise_ci=(noise - float(np.linalg.norm(low)), noise + float(np.linalg.norm(high))),
    )


def _chi_square(dfs: np.ndarray, tail: float) -> np.ndarray:
    """Chi-square values that are exceeded with probability `tail`; 1 for 0 degrees of freedom."""
    return np.where(dfs > 0, special.chdtri(np.maximum(dfs, 1), tail), 1.0)
