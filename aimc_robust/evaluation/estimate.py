"""An accuracy over chips and trained models, with its spread and interval."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from aimc_robust.errors import InputError

CONFIDENCE = 0.95


@dataclass(frozen=True)
class AccuracyEstimate:
    """Accuracies in percent of one method under one condition.

    table: a row per (seed, chip) with `accuracy` [percent]; a seed names one trained model.

    mean: mean over models of their chip means.
    sd_noise: standard deviation over chips within one model, averaged over models; NaN with a single chip.
    sd_seed: standard deviation over models' chip means; NaN with a single model.
    ci: 95 % interval of the mean. Trained models are the unit of replication: with S > 1 models it is the t interval
        on the S model means, whose squared half-width estimates t^2 (v_seed / S + v_noise / (S N)), where v_seed is
        the variance between models beyond what N noisy chips leave in their means. With one model it is the t
        interval on its chips and covers chips only (`ci_covers`). NaN where nothing was repeated.
    """

    table: pd.DataFrame

    def __post_init__(self) -> None:
        missing = {"seed", "chip", "accuracy"} - set(self.table.columns)
        if missing or self.table.empty:
            raise InputError(
                f"an estimate needs rows with seed, chip and accuracy; missing: {sorted(missing) or 'rows'}."
            )

        if self.table["accuracy"].isna().any():
            raise InputError("an estimate needs an accuracy in every row; some rows hold NaN.")
        if self.table.duplicated(["seed", "chip"]).any():
            raise InputError("an estimate needs each (seed, chip) once; some appear more than once.")

    @property
    def _model_means(self) -> pd.Series:
        return self.table.groupby("seed")["accuracy"].mean()

    @property
    def mean(self) -> float:
        return float(self._model_means.mean())

    @property
    def sd_noise(self) -> float:
        return float(self.table.groupby("seed")["accuracy"].std(ddof=1).mean())

    @property
    def sd_seed(self) -> float:
        return float(self._model_means.std(ddof=1))

    @property
    def seeds(self) -> int:
        """Trained models."""
        return int(self.table["seed"].nunique())

    @property
    def chips(self) -> int:
        """Chips per model."""
        return int(self.table["chip"].nunique())

    @property
    def ci_covers(self) -> str:
        """What the interval generalises over: `models` or, with a single one, `chips` only."""
        return "models" if self.seeds > 1 else "chips"

    @property
    def ci(self) -> tuple[float, float]:
        values = self._model_means if self.seeds > 1 else self.table["accuracy"]
        return t_interval(values.to_numpy())

    def quantile(self, q: float) -> float:
        """Quantile of accuracy over all chips and models [percent]; q = 0.05 is what 95 % of chips exceed."""
        return float(self.table["accuracy"].quantile(q))


def t_interval(values: np.ndarray) -> tuple[float, float]:
    """The two-sided 95 % Student t interval of the mean of independent `values`; NaN for fewer than two."""
    n = len(values)
    if n < 2:
        return math.nan, math.nan
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(n)
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, n - 1)) * error
    return mean - half, mean + half
