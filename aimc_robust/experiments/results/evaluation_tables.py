"""Tables of an evaluation: evaluations.csv, summary.csv, differences.csv and others, computed from the rows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import pandas as pd

from aimc_robust.errors import InputError
from aimc_robust.experiments.results.evaluation import Estimates, EvaluationResults
from aimc_robust.experiments.spec.evaluation import EvaluationSpec
from aimc_robust.io.atomic import atomic_write
from aimc_robust.metrics import BUILT_IN_METRICS
from aimc_robust.statistics.accuracy_estimate import AccuracyEstimate
from aimc_robust.statistics.difference_table import difference_table
from aimc_robust.targets.target import CrossbarTarget, DeployableTarget, DigitalTarget

Deployable = TypeVar("Deployable", bound=DeployableTarget)
Key = tuple[str, str]
"""(label of a model, name of a target)."""
STANDARD_COLUMNS = ("model", "seed", "target", "time_s", "chip", *BUILT_IN_METRICS)


def write_tables(results: EvaluationResults) -> None:
    """Write every table that has rows, such as evaluations.csv and summary.csv, computed from the rows alone."""
    estimates = results.estimates()
    tables = {
        "evaluations": results.table(),
        "summary": summary_table(estimates, results.spec.threshold),
        "differences": paired_differences(results.spec, estimates),
        "attribution": results.explanation("attribution"),
        "prediction": results.explanation("prediction"),
        "prediction_layers": results.explanation("prediction_layers"),
        "validity": results.explanation("validity"),
    }
    for name, table in tables.items():
        if len(table):
            atomic_write(results.folder / f"{name}.csv", table.to_csv(index=False))


def summary_table(estimates: Estimates, threshold: float | None) -> pd.DataFrame:
    """Return a row per model and target; accuracies in percent, standard deviations in percentage points.

    Columns that need explanation:

    - var_noise, var_seed: nested variance components [points^2]; var_seed is negative where its estimate is.
    - sampling: half-width of the 95 % interval of the mean due to the finite test set.
    - yield: share of chips [percent] with an accuracy of at least `threshold`, with its exact binomial interval.
    - loss, top5 and user metrics: means, if every chip has a finite value.

    Args:
        estimates: (label, target) -> estimate.
        threshold: Accuracy [percent] from which a chip counts for the yield; None: no yield.
    """
    return pd.DataFrame([_summary_row(key, estimate, threshold) for key, estimate in estimates.items()])


def _summary_row(key: Key, estimate: AccuracyEstimate, threshold: float | None) -> dict[str, Any]:
    components, worst = estimate.components, estimate.worst
    row = {
        "model": key[0],
        "target": key[1],
        "time_s": estimate.table["time_s"].iloc[0],
        "mean": estimate.mean,
        "ci_low": estimate.ci[0],
        "ci_high": estimate.ci[1],
        "covers": estimate.ci_covers if not math.isnan(estimate.ci[0]) else "",
        "sd_noise": estimate.sd_noise,
        "sd_seed": estimate.sd_seed,
        "var_noise": components.noise,
        "var_noise_low": components.noise_ci[0],
        "var_noise_high": components.noise_ci[1],
        "var_seed": components.seed,
        "quantile_05": estimate.quantile(0.05),
        "median": estimate.quantile(0.5),
        "worst": worst.accuracy,
        "worst_seed": worst.seed,
        "worst_chip": worst.chip,
        "sampling": estimate.sampling_half_width,
        "chips": estimate.chips,
        "models": estimate.seeds,
        "images": int(estimate.table["n"].iloc[0]),
    }
    if threshold is not None:
        chip_yield = estimate.yield_above(threshold)
        row |= {"yield": chip_yield.share, "yield_low": chip_yield.ci[0], "yield_high": chip_yield.ci[1]}
    return row | {name: column_mean(estimate, name) for name in ("loss", *extra_metrics(estimate.table))}


def extra_metrics(table: pd.DataFrame) -> list[str]:
    """Return the columns besides accuracy and loss: top5 and user metrics."""
    return [name for name in table if name == "top5" or name not in STANDARD_COLUMNS]


def column_mean(estimate: AccuracyEstimate, name: str) -> float:
    """Return the mean of a column over chips and models; NaN if a chip has no finite value."""
    try:
        return estimate.for_column(name).mean
    except InputError:
        return math.nan


def paired_differences(spec: EvaluationSpec, estimates: Estimates) -> pd.DataFrame:
    """Return paired differences, with p values corrected over the whole table (`statistics.difference_table`).

    Pairs are: two models on each target; for each model two devices at the same time, and each later time of a device
    and its first.

    Args:
        spec: The spec of the evaluation.
        estimates: (label, target) -> estimate.
    """
    pairs = [pair for pair in _pairs(spec) if pair[0] in estimates and pair[1] in estimates]
    return difference_table(estimates, pairs)


def _pairs(spec: EvaluationSpec) -> Iterator[tuple[Key, Key]]:
    labels, targets = spec.labels, spec.build_targets()
    for target in targets:
        yield from (((a, target.name), (b, target.name)) for a, b in itertools.combinations(labels, 2))
    devices = [target for target in targets if not isinstance(target, DigitalTarget)]
    for label in labels:
        for a, b in itertools.combinations(devices, 2):
            if a.time_s == b.time_s:
                yield (label, a.name), (label, b.name)
        for group in group_by_device(devices):
            yield from (((label, later.name), (label, group[0].name)) for later in group[1:])


def group_by_device(targets: Sequence[Deployable]) -> list[list[Deployable]]:
    """Group targets that differ by their time only, each group sorted by time."""
    groups: list[list[Deployable]] = []
    for target in sorted(targets, key=lambda t: t.time_s):
        same = [group for group in groups if _key_without_time(group[0]) == _key_without_time(target)]
        if same and not isinstance(target, DigitalTarget):
            same[0].append(target)
        else:
            groups.append([target])
    order = {target.name: i for i, target in enumerate(targets)}
    return sorted(groups, key=lambda group: order[group[0].name])


def _key_without_time(target: DeployableTarget) -> tuple[Any, ...]:
    compensation = target.deployment.compensation if isinstance(target, CrossbarTarget) else ()
    return target.condition, target.backend, compensation
