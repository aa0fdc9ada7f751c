"""Tables of an evaluation: evaluations.csv, summary.csv, differences.csv and others, computed from the rows."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import pandas as pd

from aimc_robust.experiments.results.evaluation import EvaluationResults
from aimc_robust.experiments.results.folder import Estimates
from aimc_robust.experiments.results.summary import Key, summary_table
from aimc_robust.experiments.spec.evaluation import EvaluationSpec
from aimc_robust.io.atomic import atomic_write
from aimc_robust.io.csv_text import csv_text
from aimc_robust.statistics.paired_difference import difference_table
from aimc_robust.targets.target import CrossbarTarget, DeployableTarget, DigitalTarget

Deployable = TypeVar("Deployable", bound=DeployableTarget)


def write_tables(results: EvaluationResults) -> None:
    """Write every table that has rows, such as evaluations.csv and summary.csv, computed from the rows alone."""
    estimates = results.estimates()
    tables = {
        "evaluations": results.table(),
        "summary": summary_table(estimates, threshold=results.spec.threshold),
        "differences": paired_differences(results.spec, estimates),
        "attribution": results.explanation("attribution"),
        "prediction": results.explanation("prediction"),
        "prediction_layers": results.explanation("prediction_layers"),
        "validity": results.explanation("validity"),
    }
    for name, table in tables.items():
        if len(table):
            atomic_write(results.folder / f"{name}.csv", csv_text(table))


def paired_differences(spec: EvaluationSpec, estimates: Estimates) -> pd.DataFrame:
    """Return paired differences, with p values corrected over the whole table (`statistics.paired_difference`).

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
