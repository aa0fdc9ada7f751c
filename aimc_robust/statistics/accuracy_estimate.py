"""An accuracy over chips and trained models, with its spread and interval."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd

from aimc_robust.errors import InputError, require_finite, require_whole, unknown_name
from aimc_robust.statistics.chip_yield import Yield, clopper_pearson
from aimc_robust.statistics.grouping import Models, by_model, deviations, means
from aimc_robust.statistics.t_interval import t_interval
from aimc_robust.statistics.test_set_error import sampling_half_width
from aimc_robust.statistics.variance_components import VarianceComponents, variance_components

SHARES_OF_IMAGES = ("accuracy", "top5")  # columns whose sampling error is binomial


class Worst(NamedTuple):
    """The lowest accuracy [percent] and the (seed, chip) that has it; the first of several."""

    accuracy: float
    seed: int
    chip: int


@dataclass(frozen=True)
class AccuracyEstimate:
    """Accuracies in percent of one method under one condition.

    table: a row per (seed, chip) with `accuracy` [percent]; a seed names one trained model. Models may differ in their
        number of chips; each weighs the same in means and intervals.
    pilot: how many first chips of each model decided how many followed (`stopping`); None for a fixed number. `ci`
        accounts for it; the intervals of `components` and `yield_above` are exact for a fixed number only.

    mean: mean over models of their chip means.
    sd_noise: standard deviation over chips within one model, averaged over models; NaN with a single chip.
    sd_seed: standard deviation over models' chip means; NaN with a single model.
    ci: 95 % interval of the mean. Trained models are the unit of replication: with S > 1 models it is the t interval
        on the S model means, whose squared half-width estimates t^2 (v_seed / S + v_noise / (S N)), where v_seed is
        the variance between models beyond what N noisy chips leave in their means. With one model it is the t
        interval on its chips (after a pilot: Stein's, `stopping.stein_interval`) and covers chips only (`ci_covers`).
        NaN where nothing was repeated.
    components: v_noise and v_seed apart, with intervals; sd_seed^2 = v_seed + v_noise / N.
    """

    table: pd.DataFrame
    pilot: int | None = None

    def __post_init__(self) -> None:
        missing = {"seed", "chip", "accuracy"} - set(self.table.columns)
        if missing or self.table.empty:
            raise InputError(
                f"an estimate needs rows with seed, chip and accuracy; missing: {sorted(missing) or 'rows'}."
            )

        seeds, chips, accuracies = self.sorted_rows
        if np.isnan(accuracies).any():
            raise InputError("an estimate needs an accuracy in every row; some rows hold NaN.")
        if ((seeds[1:] == seeds[:-1]) & (chips[1:] == chips[:-1])).any():
            raise InputError("an estimate needs each (seed, chip) once; some appear more than once.")
        if self.pilot is not None:
            require_whole("pilot", self.pilot, low=2)

    def of(self, column: str) -> "AccuracyEstimate":
        """The same statistics of another column, such as `loss`; what is said of accuracy then holds for its values.

        Raises UnknownNameError for a column that is not there, InputError for one without a number in every row.
        """
        known = set(self.table.columns) - {"seed", "chip"}
        if column not in known:
            raise unknown_name("column", column, known)
        values = self.table[column]
        if not pd.api.types.is_numeric_dtype(values) or values.isna().any():
            raise InputError(f"the column {column!r} must hold a number in every row; some are missing, NaN or text.")
        kept = self.table if column in SHARES_OF_IMAGES else self.table.drop(columns="n", errors="ignore")
        return AccuracyEstimate(kept.assign(accuracy=values), self.pilot)

    @cached_property
    def sorted_rows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Seeds, chips and accuracies [percent] of the rows, in rising order of the first two."""
        seeds, chips = self.table["seed"].to_numpy(), self.table["chip"].to_numpy()
        order = np.lexsort((chips, seeds))
        return seeds[order], chips[order], self.table["accuracy"].to_numpy(dtype=float)[order]

    @cached_property
    def _models(self) -> Models:
        """The accuracies of each model's chips [percent], model by model."""
        seeds, _, accuracies = self.sorted_rows
        return by_model(seeds, accuracies)

    @cached_property
    def _model_means(self) -> np.ndarray:
        return means(self._models)

    @property
    def accuracies(self) -> pd.Series:
        """Accuracy [percent] by (seed, chip), in rising order of both."""
        seeds, chips, accuracies = self.sorted_rows
        return pd.Series(accuracies, pd.MultiIndex.from_arrays([seeds, chips], names=["seed", "chip"]), name="accuracy")

    @cached_property
    def mean(self) -> float:
        return float(self._model_means.mean())

    @cached_property
    def sd_noise(self) -> float:
        found = deviations(self._models)
        return float(found.mean()) if len(found) else math.nan

    @cached_property
    def sd_seed(self) -> float:
        return float(self._model_means.std(ddof=1)) if self.seeds > 1 else math.nan

    @property
    def components(self) -> VarianceComponents:
        """Variance between chips of a model and between models beyond that; the second may be negative."""
        return variance_components(self._models)

    @property
    def seeds(self) -> int:
        """Trained models."""
        return len(self._models)

    @property
    def chips(self) -> int:
        """Chips per model; the most, where models differ."""
        return len(np.unique(self.sorted_rows[1]))

    @property
    def ci_covers(self) -> str:
        """What the interval generalises over: `models` or, with a single one, `chips` only."""
        return "models" if self.seeds > 1 else "chips"

    @cached_property
    def ci(self) -> tuple[float, float]:
        if self.seeds > 1:
            return t_interval(self._model_means)
        return t_interval(self._models[0], self.pilot)  # the pilot are the first chips

    @property
    def worst(self) -> Worst:
        """The chip with the lowest accuracy. For a column in which less is better, that is the best one."""
        values = self.accuracies
        seed, chip = values.idxmin()
        return Worst(float(values.min()), int(seed), int(chip))

    @property
    def sampling_half_width(self) -> float:
        """95 % half-width [points] that the finite test set leaves on the mean, on top of `ci` (see `sampling`).

        NaN where the table has no column `n`, the number of test images, or holds what is no share of images.
        """
        return sampling_half_width(self.mean, int(self.table["n"].max())) if "n" in self.table else math.nan

    def quantile(self, q: float) -> float:
        """Quantile of accuracy over all chips and models [percent]; q = 0.05 is what 95 % of chips exceed."""
        return float(self.table["accuracy"].quantile(q))

    def yield_above(self, threshold: float) -> Yield:
        """The share of chips, over all models, whose accuracy is `threshold` [percent] or more, with its interval.

        Raises InputError for a threshold that is no finite number.
        """
        require_finite("threshold", threshold, low=-math.inf)
        above, chips = int((self.table["accuracy"] >= threshold).sum()), len(self.table)
        low, high = clopper_pearson(above, chips)
        covers = "chips of this model" if self.seeds == 1 else "chips of these models"
        return Yield(100.0 * above / chips, (100.0 * low, 100.0 * high), above, chips, float(threshold), covers)
