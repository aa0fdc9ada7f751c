"""The primary metric of a task over chips and trained models: mean, spread and interval."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from aimc_robust.errors import InputError, require_finite, require_known, require_whole
from aimc_robust.statistics.binomial import Yield, sampling_half_width, share_interval
from aimc_robust.statistics.crossed_effects import CrossedEffects, VarianceComponents, chip_matrix, variance_components
from aimc_robust.statistics.estimate_table import check_arguments
from aimc_robust.statistics.primary_metric import ACCURACY, PrimaryMetric, metric_of
from aimc_robust.statistics.t_interval import hall_interval, mean_error, skewness

TOP5 = PrimaryMetric("top5", "%", "higher", (0.0, 100.0), is_proportion=True)
LOSS = PrimaryMetric("loss", better="lower")


class WorstChip(NamedTuple):
    """The worst value of an estimate, in the metric's unit, with its model and chip (the first of several)."""

    value: float
    train_seed: int
    chip: int


@dataclass(frozen=True)
class Estimate:
    """A metric of one method under one condition, over chips and trained models.

    Values are in the metric's unit, differences and standard deviations of a percentage in points.

    Attributes:
        table: One row per (seed, chip) with the column `metric.name`; a seed identifies one trained model. Models may
            have different numbers of chips; each model has the same weight in means and intervals.
        pilot: Number of first chips of each model that decided how many followed; None for a fixed
            number of chips. `ci` accounts for it; the intervals of `components` and `yield_at` are exact for a
            fixed number only.
        metric: The metric: its name, bounds (`ci` ends there), and whether higher or lower values are better.
        others: Metrics of further columns, for `for_column`.
        is_digital: Whether the weights are digital, so that each model's value holds for all chips.
    """

    table: pd.DataFrame
    pilot: int | None = None
    metric: PrimaryMetric = ACCURACY
    others: tuple[PrimaryMetric, ...] = (ACCURACY, TOP5, LOSS)
    is_digital: bool = False

    def __post_init__(self) -> None:
        check_arguments(self.table, self.metric, self.others)
        name, (low, high) = self.metric.name, self.metric.bounds
        seeds, chips, values = self.sorted_rows
        if ((seeds[1:] == seeds[:-1]) & (chips[1:] == chips[:-1])).any():
            raise InputError("an estimate needs unique (train_seed, chip) pairs; some occur more than once.")
        if values.min() < low - 1e-6 or values.max() > high + 1e-6:
            allowed = f"{low:g} to {high:g} {self.metric.unit}".rstrip()
            raise InputError(
                f"the column {name!r} must hold values from {allowed}; it holds {values.min():g} to {values.max():g}. "
                "For another quantity, give `metric=PrimaryMetric(...)`, or add its column and use for_column(NAME)."
            )
        if self.pilot is not None:
            require_whole("pilot", self.pilot, low=2)

    def __repr__(self) -> str:
        unit = self.metric.unit and f" {self.metric.unit}"
        if self.seeds == self.chips == 1 or self.is_digital:
            return f"Estimate({self.metric.name} {self.mean:.4g}{unit}, {self.seeds} models, {self.chips} chips)"
        low, high = self.ci
        return (
            f"Estimate({self.metric.name} {self.mean:.4g}{unit}, 95 % interval {low:.4g} to {high:.4g}, "
            f"{self.seeds} models, {self.chips} chips)"
        )

    def for_column(self, column: str) -> "Estimate":
        """Compute the same statistics for another numeric column, such as `loss`.

        Higher values of a column count as better unless `others` says otherwise, as it does of the loss.

        Raises:
            UnknownNameError: if the table has no such column.
            InputError: if the column lacks a number in some row.
        """
        require_known("column", column, set(self.table.columns) - {"train_seed", "chip"})
        known = (*self.others, self.metric)
        return Estimate(self.table, self.pilot, metric_of(column, known), known, self.is_digital)

    @cached_property
    def sorted_rows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Seeds, chips and values of the rows, sorted by seed, then chip."""
        seeds, chips = self.table["train_seed"].to_numpy(), self.table["chip"].to_numpy()
        order = np.lexsort((chips, seeds))
        return seeds[order], chips[order], self.table[self.metric.name].to_numpy(dtype=float)[order]

    @cached_property
    def effects(self) -> CrossedEffects:
        """Values as a matrix of models and chips, with the analysis of its variance."""
        return CrossedEffects(chip_matrix(*self.sorted_rows))

    @cached_property
    def mean(self) -> float:
        """Mean over models of their chip means."""
        return float(self.effects.model_means.mean())

    @cached_property
    def sd_noise(self) -> float:
        """Standard deviation over chips of one model, averaged over models; NaN with a single chip."""
        stds = [row.std(ddof=1) for row in self.effects.rows if len(row) > 1]
        return float(np.mean(stds)) if stds else math.nan

    @cached_property
    def sd_seed(self) -> float:
        """Standard deviation over the models' chip means; NaN with a single model."""
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

        It ends at the metric's bounds, where the mean ends too: that shortens the interval and changes no coverage.
        """
        half_width = self.effects.mean_error(self.pilot).half_width()
        return self._within_bounds(self.mean - half_width, self.mean + half_width)

    @property
    def skewness(self) -> float:
        """Skewness over the chips of one model, averaged over models; NaN with fewer than three chips."""
        return float(np.mean([skewness(row) for row in self.effects.rows]))

    @property
    def skewed_ci(self) -> tuple[float, float]:
        """95 % interval of one model's mean that allows for skewed chips (`t_interval.hall_interval`).

        NaN with several models, whose chip means are hardly skewed, with fewer than five chips, and after a pilot.
        """
        if self.seeds > 1 or self.pilot is not None:
            return math.nan, math.nan
        return self._within_bounds(*hall_interval(self.effects.rows[0]))

    def _within_bounds(self, low: float, high: float) -> tuple[float, float]:
        low, high = np.clip([low, high], *self.metric.bounds)
        return float(low), float(high)

    @property
    def half_width_over_chips(self) -> float:
        """95 % half-width over the chips of one model, the largest of the models; `precision` is its limit."""
        return max(mean_error(row, self.pilot).half_width() for row in self.effects.rows)

    @property
    def worst(self) -> WorstChip:
        """Chip with the worst value: the lowest accuracy, the highest perplexity."""
        seeds, chips, values = self.sorted_rows
        worst = self.metric.worst(values)
        return WorstChip(float(values[worst]), int(seeds[worst]), int(chips[worst]))

    @property
    def sampling_half_width(self) -> float:
        """95 % half-width [points] due to the finite test set, in addition to `ci` (see `test_set_error`).

        NaN if the table has no column `n` (number of test images), or the metric is no percentage of images.
        """
        if not self.metric.is_proportion or "n" not in self.table:
            return math.nan
        return sampling_half_width(self.mean, int(self.table["n"].max()))

    def quantile(self, q: float) -> float:
        """Quantile of the values over all chips and models; `q` is from 0 to 1."""
        require_finite("q", q, high=1.0)
        return float(self.table[self.metric.name].quantile(q))

    def reached_by(self, share: float) -> float:
        """Value that this share of all chips, from 0 to 1, reaches or surpasses: the quantile from the better end."""
        require_finite("share", share, high=1.0)
        return self.quantile(1.0 - share if self.metric.is_higher_better else share)

    def yield_at(self, threshold: float) -> Yield:
        """Percentage of chips that are at least as good as a threshold, with its interval, see `Yield`.

        Every model has the same weight, however many chips it has. With a single chip per model there is no interval:
        digital weights, for example, have nothing random.

        Raises:
            InputError: if `threshold` is not a finite number.
        """
        require_finite("threshold", threshold, low=-math.inf)
        passes = [self.metric.loss_of(threshold, row) <= 0.0 for row in self.effects.rows]
        share = math.fsum(row.mean() for row in passes) / len(passes)
        low, high = share_interval(share, min(map(len, passes))) if self.chips > 1 else (math.nan, math.nan)
        passing, chips = sum(int(row.sum()) for row in passes), len(self.table)
        covers = "chips of this model" if self.seeds == 1 else "chips of these models"
        return Yield(100.0 * share, (100.0 * low, 100.0 * high), passing, chips, float(threshold), covers)


def best_of(estimates: Mapping[str, Estimate]) -> str:
    """Return the label with the best mean, the first of several; empty without estimates."""
    return min(estimates, key=lambda label: estimates[label].metric.loss_of(0.0, estimates[label].mean), default="")


def tied_with_best(estimates: Mapping[str, Estimate]) -> list[str]:
    """Return the labels with the best mean; several if their means are equal."""
    best = best_of(estimates)
    return [label for label, found in estimates.items() if math.isclose(found.mean, estimates[best].mean, abs_tol=1e-9)]
