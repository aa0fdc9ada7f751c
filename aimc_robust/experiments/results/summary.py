"""Estimates and summary.csv of an experiment, computed from its rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from aimc_robust.errors import InputError
from aimc_robust.experiments.results.rows import FORWARD_PRECISION, columns
from aimc_robust.statistics.estimate import Estimate
from aimc_robust.statistics.primary_metric import PrimaryMetric

Key = tuple[str, str]
"""(label of a model, name of a target)."""


def group_estimates(
    frame: pd.DataFrame, metric: PrimaryMetric, *, pilot: int | None = None, others: tuple[PrimaryMetric, ...] = ()
) -> dict[Key, Estimate]:
    """Return (model, target) -> estimate, in the order of first appearance.

    `pilot` is the number of pilot chips that decided the number of chips; None: it is fixed. `others` are what is known
    of further columns.
    """
    numbers = frame.groupby(["model", "target"], sort=False).ngroup().to_numpy()
    order = np.argsort(numbers, kind="stable")
    # Slices of a sorted table take a hundredth of the time of selecting rows group by group.
    ordered, firsts = frame.iloc[order], np.flatnonzero(np.diff(numbers[order], prepend=-1))
    keys = zip(ordered["model"].iloc[firsts], ordered["target"].iloc[firsts], strict=True)
    ends = [*firsts[1:], len(frame)][: len(firsts)]
    return {
        key: Estimate(ordered.iloc[a:b], pilot, metric, others) for key, a, b in zip(keys, firsts, ends, strict=True)
    }


def summary_table(estimates: Mapping[Key, Estimate], *, threshold: float | None = None) -> pd.DataFrame:
    """Return a row per model and target, in units of the primary metric: percent, and points for what is a difference.

    Columns that need explanation:

    - covers: what the interval generalizes to, new `models` or new `chips`.
    - half_width: half-width of the 95 % interval over the chips of one model, the largest of the models;
      more than `--precision` where `--chips` ended the evaluation early.
    - skewness, skewed_low, skewed_high: skewness over chips, and the 95 % interval of one model that allows for it.
    - var_noise, var_seed, var_chip: variance between chips of one model, between models, and of what a chip does to all
      models; the latter two are negative where their estimates are.
    - reached_by_95: value that 95 % of the chips reach or surpass: the 5 % quantile where higher is better, else the
      95 % quantile. worst: the worst chip's.
    - sampling: half-width of the 95 % interval of the mean due to the finite test set, where the metric is a percentage
      of images.
    - n: number of items that were scored: images, tokens, pixels.
    - yield: share of chips [percent] that are at least as good as `threshold`, with its binomial interval, see
      `statistics.binomial.Yield`; none with a single chip, as of digital weights.
    - loss and metrics: means, if every chip has a finite value.
    """
    return pd.DataFrame([_summary_row(key, estimate, threshold) for key, estimate in estimates.items()])


def _summary_row(key: Key, estimate: Estimate, threshold: float | None) -> dict[str, Any]:
    components, worst = estimate.components, estimate.worst
    row = {
        "model": key[0],
        "target": key[1],
        "sigma": estimate.table["sigma"].iat[0],
        "time_s": estimate.table["time_s"].iat[0],
        "mean": estimate.mean,
        "ci_low": estimate.ci[0],
        "ci_high": estimate.ci[1],
        "covers": estimate.ci_covers if not math.isnan(estimate.ci[0]) else "",
        "half_width": estimate.half_width_over_chips,
        "skewness": estimate.skewness,
        "skewed_low": estimate.skewed_ci[0],
        "skewed_high": estimate.skewed_ci[1],
        "sd_noise": estimate.sd_noise,
        "sd_seed": estimate.sd_seed,
        "var_noise": components.noise,
        "var_noise_low": components.noise_ci[0],
        "var_noise_high": components.noise_ci[1],
        "var_seed": components.seed,
        "var_chip": components.chip,
        "reached_by_95": estimate.reached_by(0.95),
        "median": estimate.quantile(0.5),
        "worst": worst.value,
        "worst_train_seed": worst.train_seed,
        "worst_chip": worst.chip,
        "sampling": estimate.sampling_half_width,
        "chips": estimate.chips,
        "models": estimate.seeds,
        "n": int(estimate.table["n"].iat[0]),
    }
    if threshold is not None:
        chip_yield = estimate.yield_at(threshold)
        row |= {"yield": chip_yield.share, "yield_low": chip_yield.ci[0], "yield_high": chip_yield.ci[1]}
    return row | {
        name: column_mean(estimate, name) for name in ("loss", *extra_metrics(estimate.table, estimate.metric.name))
    }


def extra_metrics(table: pd.DataFrame, metric: str) -> list[str]:
    """Return the columns besides those of every row: metrics other than the primary one."""
    return [name for name in table if name not in (*columns(metric), FORWARD_PRECISION)]


def column_mean(estimate: Estimate, name: str) -> float:
    """Return the mean of a column over chips and models; NaN if a chip has no finite value."""
    try:
        return estimate.for_column(name).mean
    except InputError:
        return math.nan
