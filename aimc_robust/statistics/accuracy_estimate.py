"""Accuracy over chips and trained models: mean, spread and interval."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from aimc_robust.errors import InputError, require_finite, require_whole, unknown_name
from aimc_robust.statistics.binomial import Yield, clopper_pearson, sampling_half_width
from aimc_robust.statistics.crossed_effects import CrossedEffects, VarianceComponents, chip_matrix, variance_components
from aimc_robust.statistics.t_interval import hall_interval, mean_error, skewness

PERCENTAGES = ("accuracy", "top5")  # of images: their sampling error is binomial


class WorstChip(NamedTuple):
    """The lowest accuracy [percent] of an estimate, and the model and chip where it occurs (the first of several)."""

    accuracy: float
    train_seed: int
    chip: int


@dataclass(frozen=True)
class AccuracyEstimate:
    """Accuracy [percent] of one method under one condition, over chips and trained models.

    Attributes:
        table: One row per (seed, chip) with `accuracy` [percent]; a seed identifies one trained model. Models may have
            different numbers of chips; each model has the same weight in means and intervals.
        pilot: Number of first chips of each model that decided how many followed; None for a fixed
            number of chips. `ci` accounts for it; the intervals of `components` and `yield_above` are exact for a
            fixed number only.
        bounds: Lowest and highest possible value; `ci` ends there.
    """

    table: pd.DataFrame
    pilot: int | None = None
    bounds: tuple[float, float] = (0.0, 100.0)

    def __post_init__(self) -> None:
        missing = {"train_seed", "chip", "accuracy"} - set(self.table.columns)
        if missing or self.table.empty:
            raise InputError(
                f"an estimate needs rows with the columns train_seed, chip and accuracy; missing: "
                f"{sorted(missing) or 'rows'}."
            )

        seeds, chips, accuracies = self.sorted_rows
        if np.isnan(accuracies).any():
            raise InputError("an estimate needs an accuracy in every row; some rows hold NaN.")
        if ((seeds[1:] == seeds[:-1]) & (chips[1:] == chips[:-1])).any():
            raise InputError("an estimate needs unique (train_seed, chip) pairs; some occur more than once.")
        low, high = self.bounds
        if accuracies.min() < low - 1e-6 or accuracies.max() > high + 1e-6:
            raise InputError(
                f"accuracies must be in percent, {low:g} to {high:g}; the table holds {accuracies.min():g} to "
                f"{accuracies.max():g}. For another quantity, add its column and use for_column(NAME)."
            )
        if self.pilot is not None:
            require_whole("pilot", self.pilot, low=2)

    def for_column(self, column: str) -> "AccuracyEstimate":
        """Compute the same statistics for another numeric column, such as `loss`, in place of accuracy.

        Raises:
            UnknownNameError: if the table has no such column.
            InputError: if the column lacks a number in some row.
        """
        columns = set(self.table.columns) - {"train_seed", "chip"}
        if column not in columns:
            raise unknown_name("column", column, columns)
        values = self.table[column]
        if not pd.api.types.is_numeric_dtype(values) or values.isna().any():
            raise InputError(f"the column {column!r} must hold a number in every row; some are missing, NaN or text.")
        if column in PERCENTAGES:
            return AccuracyEstimate(self.table.assign(accuracy=values), self.pilot)
        table = self.table.drop(columns="n", errors="ignore").assign(accuracy=values)
        return AccuracyEstimate(table, self.pilot, (-math.inf, math.inf))

    @cached_property
    def sorted_rows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Seeds, chips and accuracies [percent] of the rows, sorted by seed, then chip."""
        seeds, chips = self.table["train_seed"].to_numpy(), self.table["chip"].to_numpy()
        order = np.lexsort((chips, seeds))
        return seeds[order], chips[order], self.table["accuracy"].to_numpy(dtype=float)[order]

    @cached_property
    def effects(self) -> CrossedEffects:
        """Accuracies [percent] as a matrix of models and chips, with the analysis of its variance."""
        return CrossedEffects(chip_matrix(*self.sorted_rows))

    @cached_property
    def mean(self) -> float:
        """Mean over models of their chip means [percent]."""
        return float(self.effects.model_means.mean())

    @cached_property
    def sd_noise(self) -> float:
        """Standard deviation over chips of one model, averaged over models [points]; NaN with a single chip."""
        stds = [row.std(ddof=1) for row in self.effects.rows if len(row) > 1]
        return float(np.mean(stds)) if stds else math.nan

    @cached_property
    def sd_seed(self) -> float:
        """Standard deviation over the models' chip means [points]; NaN with a single model."""
        return float(self.effects.model_means.std(ddof=1)) if self.seeds > 1 else math.nan

    @property
    def components(self) -> VarianceComponents:
        """Variances between models, between chips, and beyond both, with the interval of the variance over chips."""
        return variance_components(self.effects)

    @property
    def seeds(self) -> int:
        """Number of trained models."""
        return len(self.effects.matrix)

    @property
    def chips(self) -> int:
        """Number of chips per model; the largest if models differ."""
        return self.effects.matrix.shape[1]

    @property
    def ci_covers(self) -> Literal["models", "chips"]:
        """Population of `ci`: `models`, or `chips` if there is a single model."""
        return "models" if self.seeds > 1 else "chips"

    @cached_property
    def ci(self) -> tuple[float, float]:
        """95 % interval of the mean [percent]; NaN without replication.

        With several trained models it covers newly trained models and further chips: all models meet the same chips,
        so that what a chip costs every model does not average out over the models (`crossed_effects`). With a single
        chip per model it is the t interval of the models, on that chip. With one model it is the t interval of its
        chips (after a pilot Stein's, see `two_stage_sampling`) and covers chips only, see `ci_covers`.

        It ends at `bounds`, where the mean ends too: that shortens the interval and changes no coverage.
        """
        half_width = self.effects.mean_error(self.pilot).half_width()
        return self._within_bounds(self.mean - half_width, self.mean + half_width)

    @property
    def skewness(self) -> float:
        """Skewness over the chips of one model, averaged over models; NaN with fewer than three chips."""
        return float(np.mean([skewness(row) for row in self.effects.rows]))

    @property
    def skewed_ci(self) -> tuple[float, float]:
        """95 % interval of one model's mean [percent] that allows for skewed chips (`t_interval.hall_interval`).

        NaN with several models, whose chip means are hardly skewed, with fewer than five chips, and after a pilot.
        """
        if self.seeds > 1 or self.pilot is not None:
            return math.nan, math.nan
        return self._within_bounds(*hall_interval(self.effects.rows[0]))

    def _within_bounds(self, low: float, high: float) -> tuple[float, float]:
        low, high = np.clip([low, high], *self.bounds)
        return float(low), float(high)

    @property
    def half_width_over_chips(self) -> float:
        """95 % half-width over the chips of one model, the largest of the models [points]; `precision` is its limit."""
        return max(mean_error(row, self.pilot).half_width() for row in self.effects.rows)

    @property
    def worst(self) -> WorstChip:
        """Chip with the lowest accuracy. For a column in which lower is better, this is the best chip."""
        seeds, chips, accuracies = self.sorted_rows
        lowest = int(accuracies.argmin())
        return WorstChip(float(accuracies[lowest]), int(seeds[lowest]), int(chips[lowest]))

    @property
    def sampling_half_width(self) -> float:
        """95 % half-width [points] due to the finite test set, in addition to `ci` (see `test_set_error`).

        NaN if the table has no column `n` (number of test images) or holds values that are not percentages of images.
        """
        return sampling_half_width(self.mean, int(self.table["n"].max())) if "n" in self.table else math.nan

    def quantile(self, q: float) -> float:
        """Quantile of accuracy over all chips and models [percent]; 95 % of chips exceed that of `q` = 0.05."""
        return float(self.table["accuracy"].quantile(q))

    def yield_above(self, threshold: float) -> Yield:
        """Percentage of chips, over all models, that reach an accuracy [percent], with its interval.

        With a single chip per model there is no interval: digital weights, for example, have nothing random.

        Raises:
            InputError: if `threshold` is not a finite number.
        """
        require_finite("threshold", threshold, low=-math.inf)
        above, chips = int((self.table["accuracy"] >= threshold).sum()), len(self.table)
        low, high = clopper_pearson(above, chips) if self.chips > 1 else (math.nan, math.nan)
        covers = "chips of this model" if self.seeds == 1 else "chips of these models"
        return Yield(100.0 * above / chips, (100.0 * low, 100.0 * high), above, chips, float(threshold), covers)
