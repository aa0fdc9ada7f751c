"""Analysis of variance of accuracies on crossed trained models and chips: every model meets the same chips.

accuracy[model, chip] = mean + model effect + chip effect + residual, all independent. A chip effect is what a chip
costs every model; the residual is what it costs this model in addition.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import special

from aimc_robust.statistics.t_interval import LEVEL, ROUNDING_TOLERANCE, MeanError, mean_error, sample_std


def chip_matrix(seeds: np.ndarray, chips: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Arrange values as a matrix of shape (models, chips), NaN where a model lacks a chip.

    `seeds` of the models ascend, and so do `chips` within each model; all three have shape (n,).
    """
    models = 1 + int(np.count_nonzero(seeds[1:] != seeds[:-1]))
    count = len(values) // models
    if len(values) == models * count and np.array_equal(chips, np.tile(chips[:count], models)):
        return values.reshape(models, count)  # the common case
    rows, columns = (np.unique(keys, return_inverse=True)[1] for keys in (seeds, chips))
    matrix = np.full((rows.max() + 1, columns.max() + 1), np.nan)
    matrix[rows, columns] = values
    return matrix


@dataclass(frozen=True)
class CrossedEffects:
    """Sums of squares of a matrix of models and chips, and the variances that follow from them.

    Models may lack chips: the chip and residual sums of squares are those of the linear model with both effects
    (Henderson's method III), and a mean over models gives each model the same weight.

    Attributes:
        matrix: Values, shape (models, chips), NaN where a model lacks a chip; each model has at least one.

    References:
        Searle, Casella, McCulloch, Variance Components (1992), chapters 4 and 5.
    """

    matrix: np.ndarray

    @cached_property
    def rows(self) -> list[np.ndarray]:
        """Values of each model's chips."""
        return [row[~np.isnan(row)] for row in self.matrix]

    @cached_property
    def model_means(self) -> np.ndarray:
        """Mean over chips of each model, shape (models,)."""
        means = self.matrix.mean(axis=1)
        return means if not np.isnan(means).any() else np.array([row.mean() for row in self.rows])

    @cached_property
    def present(self) -> np.ndarray:
        """Whether each model has each chip, shape (models, chips)."""
        return ~np.isnan(self.matrix)

    @cached_property
    def within(self) -> tuple[float, int]:
        """Sum of squares between the chips of one model, over all models, with its degrees of freedom."""
        residuals = (self.matrix - self.model_means[:, None])[self.present]
        return self._sum_of_squares(residuals), residuals.size - len(self.matrix)

    @cached_property
    def residual(self) -> tuple[float, int]:
        """Sum of squares beyond both effects, with its degrees of freedom; 0 of them if no chip is shared."""
        if self.present.all():  # the common case; the general one gives the same in three times the time
            fitted = self.model_means[:, None] + self.matrix.mean(axis=0) - self.model_means.mean()
            return self._sum_of_squares(self.matrix - fitted), (len(self.matrix) - 1) * (self.matrix.shape[1] - 1)
        counts = self.present.sum(axis=0)
        centered = np.where(self.present, self.matrix - np.nansum(self.matrix, axis=0) / counts, 0.0)
        # Normal equations of the model effects after chip means are removed; one rank is lost per connected block.
        equations = np.diag(self.present.sum(axis=1)) - (self.present / counts) @ self.present.T
        effects, _, rank, _ = np.linalg.lstsq(equations, centered.sum(axis=1), rcond=1e-10)
        residuals = (centered - effects[:, None] + (effects @ self.present) / counts)[self.present]
        return self._sum_of_squares(residuals), residuals.size - len(counts) - int(rank)

    @property
    def chip_variance(self) -> float:
        """Unbiased estimate of the variance of the chip effects, may be negative; 0 if no chip is shared."""
        signal, noise = self._chip_parts
        return signal - noise

    @property
    def residual_variance(self) -> float:
        """Variance of the residuals; between chips of one model if no chip is shared, NaN if no model has two."""
        square, df = self.residual if self.residual[1] > 0 else self.within
        return square / df if df > 0 else math.nan

    def mean_error(self, pilot: int | None = None) -> MeanError:
        """Sampling error of the mean over models: over new models and chips, or new chips with a single model.

        The variance of the model means over the number of models is the error of the mean on the given chips. What
        the chips add is their variance times the sum of squares of their weights in the mean, less the part that
        already shows in the model means (chips that not every model has). `pilot` is used with a single model: with
        several the spread over models gives the interval.
        """
        models = len(self.matrix)
        means_alone = mean_error(self.rows[0], pilot) if models == 1 else mean_error(self.model_means)
        if models == 1 or self.residual[1] == 0:
            return means_alone
        share = float((self._weights.mean(axis=0) ** 2).sum()) - self._chip_spread / models
        signal, noise = self._chip_parts
        return MeanError(
            means_alone.variance, models - 1,
            share * signal, self.within[1] - self.residual[1], share * noise, self.residual[1],
        )  # fmt: skip

    @property
    def model_variance(self) -> float:
        """Unbiased estimate of the variance of the model effects, may be negative; NaN with a single model."""
        if len(self.matrix) == 1:
            return math.nan
        residual_share = float((self._weights**2).sum()) / len(self.matrix)
        noise = self._chip_spread * self.chip_variance + residual_share * self.residual_variance
        return sample_std(self.model_means) ** 2 - noise

    @cached_property
    def _weights(self) -> np.ndarray:
        """Weight of each chip in the mean of each model, shape (models, chips)."""
        return self.present / self.present.sum(axis=1, keepdims=True)

    @cached_property
    def _chip_spread(self) -> float:
        """Variance of the model means that a unit chip variance makes; 0 if all have the same chips."""
        return float(self._weights.var(axis=0, ddof=1).sum())

    @cached_property
    def _chip_parts(self) -> tuple[float, float]:
        """Chip variance as a difference: mean square of chips, and the part of it that is residual."""
        (within, within_df), (residual, residual_df) = self.within, self.residual
        if residual_df == 0 or within_df == residual_df:
            return 0.0, 0.0
        return (within - residual) / within_df, (within_df - residual_df) * residual / residual_df / within_df

    def _sum_of_squares(self, residuals: np.ndarray) -> float:
        """Sum of squares; residuals that are rounding errors of equal values count as 0."""
        tolerance = ROUNDING_TOLERANCE * float(np.nanmax(np.abs(self.matrix)))
        return float((np.where(np.abs(residuals) <= tolerance, 0.0, residuals) ** 2).sum())


@dataclass(frozen=True)
class VarianceComponents:
    """Variance components [percentage points squared] of accuracy = mean + model effect + chip effect + residual.

    All models meet the same chips, so a chip effect is common to them; the residual is what a chip costs one model in
    addition. `Estimate.sd_seed` is a different quantity: the standard deviation of the observed chip means.
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
    """Estimate variance components by the analysis of variance of crossed models and chips (method of moments)."""
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
