"""Tables made from rows: what each model scores on each target, and paired differences between them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from aimc_robust.errors import InputError
from aimc_robust.experiments.results.evaluation import Estimates
from aimc_robust.experiments.spec.evaluation import EvaluationSpec
from aimc_robust.metrics import COUNTED
from aimc_robust.statistics.accuracy_estimate import AccuracyEstimate
from aimc_robust.statistics.difference_table import difference_table
from aimc_robust.targets.target import Target

Key = tuple[str, str]
BESIDES = ("model", "seed", "target", "time_s", "chip", *COUNTED)


def summary_table(estimates: Estimates, threshold: float | None) -> pd.DataFrame:
    """A row per model and target; accuracies in percent, spreads in points.

    var_noise, var_seed: nested variance components [points squared], the second negative where the estimate is.
    sampling: 95 % half-width that the finite test set leaves on the mean. yield: share of chips [percent] of at least
    `threshold`, with its exact binomial interval. Means of loss, top5 and user metrics where every chip has them.
    """
    return pd.DataFrame([_row(key, estimate, threshold) for key, estimate in estimates.items()])


def _row(key: Key, e: AccuracyEstimate, threshold: float | None) -> dict[str, Any]:
    parts, worst = e.components, e.worst
    row = {
        "model": key[0],
        "target": key[1],
        "time_s": e.table["time_s"].iloc[0],
        "mean": e.mean,
        "ci_low": e.ci[0],
        "ci_high": e.ci[1],
        "covers": e.ci_covers if not math.isnan(e.ci[0]) else "",
        "sd_noise": e.sd_noise,
        "sd_seed": e.sd_seed,
        "var_noise": parts.noise,
        "var_noise_low": parts.noise_ci[0],
        "var_noise_high": parts.noise_ci[1],
        "var_seed": parts.seed,
        "quantile_05": e.quantile(0.05),
        "median": e.quantile(0.5),
        "worst": worst.accuracy,
        "worst_seed": worst.seed,
        "worst_chip": worst.chip,
        "sampling": e.sampling_half_width,
        "chips": e.chips,
        "models": e.seeds,
        "images": int(e.table["n"].iloc[0]),
    }
    if threshold is not None:
        found = e.yield_above(threshold)
        row |= {"yield": found.share, "yield_low": found.ci[0], "yield_high": found.ci[1]}
    return row | {name: column_mean(e, name) for name in ("loss", *extra_metrics(e.table))}


def extra_metrics(table: pd.DataFrame) -> list[str]:
    """Columns beside accuracy and loss: top5 and a user's metrics."""
    return [name for name in table if name == "top5" or name not in BESIDES]


def column_mean(estimate: AccuracyEstimate, name: str) -> float:
    """Mean of a column over chips and models; NaN where some chip has no finite value."""
    try:
        return estimate.for_column(name).mean
    except InputError:
        return math.nan


def paired_differences(question: EvaluationSpec, estimates: Estimates) -> pd.DataFrame:
    """Paired differences with p values corrected over the whole table (`evaluation.comparison`).

    Between models on each target; and for each model between devices at the same time, and between each later time of a
    device and its first.
    """
    pairs = [pair for pair in _pairs(question) if pair[0] in estimates and pair[1] in estimates]
    return difference_table(estimates, pairs)


def _pairs(question: EvaluationSpec) -> Iterator[tuple[Key, Key]]:
    labels, targets = question.labels, question.build_targets()
    for target in targets:
        yield from (((a, target.name), (b, target.name)) for a, b in itertools.combinations(labels, 2))
    chips = [target for target in targets if target.condition is not None]
    for label in labels:
        for a, b in itertools.combinations(chips, 2):
            if a.deployment.time_s == b.deployment.time_s:
                yield (label, a.name), (label, b.name)
        for family in group_by_device(chips):
            yield from (((label, later.name), (label, family[0].name)) for later in family[1:])


def group_by_device(targets: list[Target]) -> list[list[Target]]:
    """Targets that differ by their time alone, each family by rising time."""
    found: list[list[Target]] = []
    for target in sorted(targets, key=lambda t: t.deployment.time_s):
        same = [family for family in found if _but_time(family[0]) == _but_time(target)]
        if same and target.condition is not None:
            same[0].append(target)
        else:
            found.append([target])
    order = {target.name: i for i, target in enumerate(targets)}
    return sorted(found, key=lambda family: order[family[0].name])


def _but_time(target: Target) -> tuple[Any, ...]:
    how = target.deployment
    return target.condition, how.backend, how.compensation
