"""Accuracy over chips and trained models: mean, spread and interval."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from aimc_robust.errors import InputError, require_finite, require_whole, unknown_name
from aimc_robust.statistics.chip_yield import Yield, clopper_pearson
from aimc_robust.statistics.grouping import ModelValues, group_by_model, model_means, model_stds
from aimc_robust.statistics.t_interval import t_interval
from aimc_robust.statistics.test_set_error import sampling_half_width
from aimc_robust.statistics.variance_components import VarianceComponents, variance_components

BINOMIAL_COLUMNS = ("accuracy", "top5")  # percentages of images: their sampling error is binomial


class WorstChip(NamedTuple):
    """The lowest accuracy of an estimate and where it occurs (the first of several).

    Attributes:
        accuracy: Accuracy [percent].
        seed: Seed of the trained model.
        chip: Number of the chip.
    """

    accuracy: float
    seed: int
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
    """

    table: pd.DataFrame
    pilot: int | None = None

    def __post_init__(self) -> None:
        missing = {"seed", "chip", "accuracy"} - set(self.table.columns)
        if missing or self.table.empty:
            raise InputError(
                f"an estimate needs rows with the columns seed, chip and accuracy; missing: "
                f"{sorted(missing) or 'rows'}."
            )

        seeds, chips, accuracies = self.sorted_rows
        if np.isnan(accuracies).any():
            raise InputError("an estimate needs an accuracy in every row; some rows hold NaN.")
        if ((seeds[1:] == seeds[:-1]) & (chips[1:] == chips[:-1])).any():
            raise InputError("an estimate needs unique (seed, chip) pairs; some occur more than once.")
        if self.pilot is not None:
            require_whole("pilot", self.pilot, low=2)

    def for_column(self, column: str) -> "AccuracyEstimate":
        """Compute the same statistics for another column, such as `loss`, in place of accuracy.

        Args:
            column: Name of a numeric column of `table`.

        Returns:
            An estimate whose accuracies are the values of the column.

        Raises:
            UnknownNameError: if the table has no such column.
            InputError: if the column lacks a number in some row.
        """
        columns = set(self.table.columns) - {"seed", "chip"}
        if column not in columns:
            raise unknown_name("column", column, columns)
        values = self.table[column]
        if not pd.api.types.is_numeric_dtype(values) or values.isna().any():
            raise InputError(f"the column {column!r} must hold a number in every row; some are missing, NaN or text.")
        table = self.table if column in BINOMIAL_COLUMNS else self.table.drop(columns="n", errors="ignore")
        return AccuracyEstimate(table.assign(accuracy=values), self.pilot)

    @cached_property
    def sorted_rows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Seeds, chips and accuracies [percent] of the rows, sorted by seed, then chip."""
        seeds, chips = self.table["seed"].to_numpy(), self.table["chip"].to_numpy()
        order = np.lexsort((chips, seeds))
        return seeds[order], chips[order], self.table["accuracy"].to_numpy(dtype=float)[order]

    @cached_property
    def _models(self) -> ModelValues:
        """Accuracies of each model's chips [percent]."""
        seeds, _, accuracies = self.sorted_rows
        return group_by_model(seeds, accuracies)

    @cached_property
    def _model_means(self) -> np.ndarray:
        return model_means(self._models)

    @property
    def accuracies(self) -> pd.Series:
        """Accuracy [percent], indexed by (seed, chip) in ascending order."""
        seeds, chips, accuracies = self.sorted_rows
        return pd.Series(accuracies, pd.MultiIndex.from_arrays([seeds, chips], names=["seed", "chip"]), name="accuracy")

    @cached_property
    def mean(self) -> float:
        """Mean over models of their chip means [percent]."""
        return float(self._model_means.mean())

    @cached_property
    def sd_noise(self) -> float:
        """Standard deviation over chips of one model, averaged over models [points]; NaN with a single chip."""
        stds = model_stds(self._models)
        return float(stds.mean()) if len(stds) else math.nan

    @cached_property
    def sd_seed(self) -> float:
        """Standard deviation over the models' chip means [points]; NaN with a single model."""
        return float(self._model_means.std(ddof=1)) if self.seeds > 1 else math.nan

    @property
    def components(self) -> VarianceComponents:
        """Variance between chips (v_noise) and between models beyond that (v_seed), with intervals.

        sd_seed^2 = v_seed + v_noise / N; v_seed may be negative.
        """
        return variance_components(self._models)

    @property
    def seeds(self) -> int:
        """Number of trained models."""
        return len(self._models)

    @property
    def chips(self) -> int:
        """Number of chips per model; the largest if models differ."""
        return len(np.unique(self.sorted_rows[1]))

    @property
    def ci_covers(self) -> Literal["models", "chips"]:
        """Population of `ci`: `models`, or `chips` if there is a single model."""
        return "models" if self.seeds > 1 else "chips"

    @cached_property
    def ci(self) -> tuple[float, float]:
        """95 % interval of the mean [percent]; NaN without replication.

        Trained models are the unit of replication: with S > 1 models it is the t interval of the S model means, whose
        squared half-width estimates t^2 (v_seed / S + v_noise / (S N)), where v_seed is the variance between models
        beyond what N noisy chips leave in their means. With one model it is the t interval of its chips (after a
        pilot: `two_stage_sampling.stein_interval`) and covers chips only (see `ci_covers`).
        """
        if self.seeds > 1:
            return t_interval(self._model_means)
        return t_interval(self._models[0], self.pilot)  # rows are sorted, so the pilot chips come first

    @property
    def worst(self) -> WorstChip:
        """Chip with the lowest accuracy. For a column in which lower is better, this is the best chip."""
        values = self.accuracies
        seed, chip = values.idxmin()
        return WorstChip(float(values.min()), int(seed), int(chip))

    @property
    def sampling_half_width(self) -> float:
        """95 % half-width [points] due to the finite test set, in addition to `ci` (see `test_set_error`).

        NaN if the table has no column `n` (number of test images) or holds values that are not percentages of images.
        """
        return sampling_half_width(self.mean, int(self.table["n"].max())) if "n" in self.table else math.nan

    def quantile(self, q: float) -> float:
        """Quantile of accuracy over all chips and models [percent].

        Args:
            q: Probability in [0, 1]; 95 % of chips exceed the quantile of q = 0.05.

        Returns:
            The quantile [percent].
        """
        return float(self.table["accuracy"].quantile(q))

    def yield_above(self, threshold: float) -> Yield:
        """Percentage of chips, over all models, that reach an accuracy, with its interval.

        Args:
            threshold: Lowest accuracy that counts as success [percent].

        Returns:
            The yield.

        Raises:
            InputError: if `threshold` is not a finite number.
        """
        require_finite("threshold", threshold, low=-math.inf)
        above, chips = int((self.table["accuracy"] >= threshold).sum()), len(self.table)
        low, high = clopper_pearson(above, chips)
        covers = "chips of this model" if self.seeds == 1 else "chips of these models"
        return Yield(100.0 * above / chips, (100.0 * low, 100.0 * high), above, chips, float(threshold), covers)
