"""Training histories of a comparison: rows averaged over training seeds, and the cost of each method."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from aimc_robust.experiments.results.trial import Trial
from aimc_robust.experiments.spec.comparison import ComparisonSpec
from aimc_robust.io.atomic import Row

MeanRows = dict[str, list[Row]]
"""Method label -> one row per epoch."""


def mean_rows(spec: ComparisonSpec, history: Mapping[Trial, Iterable[Row]]) -> MeanRows:
    """Return the history rows of each method, with the mean of every numeric key over its training seeds."""
    by_epoch: dict[str, dict[int, list[Row]]] = {method: defaultdict(list) for method in spec.labels}
    for trial, rows in history.items():
        for row in rows:
            by_epoch[trial.model][row["epoch"]].append(row)
    return {method: [_mean_row(epochs[number]) for number in sorted(epochs)] for method, epochs in by_epoch.items()}


def _mean_row(rows: list[Row]) -> Row:
    values: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        for key, value in row.items():
            if isinstance(value, int | float):
                values[key].append(value)
    return {key: math.fsum(numbers) / len(numbers) for key, numbers in values.items()}


def curve_points(rows: Iterable[Row], x: str, y: str) -> tuple[list[float], list[float]]:
    """Return the values of the keys `x` and `y` in the rows that have both."""
    points = [(row[x], row[y]) for row in rows if x in row and y in row]
    return [a for a, _ in points], [b for _, b in points]


@dataclass(frozen=True)
class MethodCost:
    """Training cost of one method; None where it is not known.

    Attributes:
        passes: Forward and backward passes per update, each over one batch: also the ratio of computation to SGD's.
        seconds: Median time of an epoch, including validation [s].
        time: Ratio of `seconds` to that of SGD with the same network and data.
    """

    passes: int
    seconds: float | None
    time: float | None


def training_costs(spec: ComparisonSpec, history: Mapping[Trial, Sequence[Row]]) -> dict[str, MethodCost]:
    """Return the training cost of each method."""
    seconds = {label: median_epoch_seconds(history, label) for label in spec.labels}
    costs = {}
    for label in spec.labels:
        reference = _find_sgd(spec, label)
        own_s, reference_s = seconds[label], seconds[reference] if reference else None
        time = own_s / reference_s if own_s and reference_s else None
        costs[label] = MethodCost(spec.method(label, seed=0).passes_per_update, own_s, time)
    return costs


def _find_sgd(spec: ComparisonSpec, label: str) -> str | None:
    """Return the label of SGD with the same network and data as `label`; None if there is none."""
    same = (spec.model_of(label), spec.data_of(label))
    kinds = {other: spec.methods[other].kind for other in spec.labels}
    plain = [o for o in spec.labels if kinds[o] == "sgd" and (spec.model_of(o), spec.data_of(o)) == same]
    return "sgd" if "sgd" in plain else next(iter(plain), None)


def median_epoch_seconds(history: Mapping[Trial, Sequence[Row]], label: str) -> float | None:
    """Return the median time of an epoch over all trainings of a method [s]; None if no time was recorded.

    The median, because an epoch that shared the machine with another job should not count.
    """
    rows = [row for trial, epochs in history.items() if trial.model == label for row in epochs]
    seconds = [row["seconds"] for row in rows if "seconds" in row]
    return statistics.median(seconds) if seconds else None
