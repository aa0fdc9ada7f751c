"""Training cost of each method: passes per update and measured time per epoch, relative to a reference method."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from aimc_robust.experiments.results.trial import Trial
from aimc_robust.experiments.spec.comparison import ComparisonSpec
from aimc_robust.io.atomic import Row

BASELINE = "sgd"


@dataclass(frozen=True)
class MethodCost:
    """Training cost of one method; None where it is not known.

    Attributes:
        passes: Forward and backward passes per update, each over one batch.
        flops: Ratio of `passes` to that of the reference. It is the ratio of computation, as both methods take the same
            batches through the same network.
        seconds: Median time of an epoch, including validation [s].
        time: Ratio of `seconds` to that of the reference.
        reference: Label of the method that both ratios refer to.
    """

    passes: int
    flops: float | None
    seconds: float | None
    time: float | None
    reference: str | None


def training_costs(
    spec: ComparisonSpec, history: Mapping[Trial, Sequence[Row]], relative_to: str = BASELINE
) -> dict[str, MethodCost]:
    """Return the training cost of each method.

    Args:
        spec: The spec of the comparison.
        history: Trial -> one row per epoch.
        relative_to: Label, glob of labels, or kind of the reference method. The reference has the same network and
            images. SGD counts as one pass even if the comparison does not include it.

    Returns:
        Label -> cost.
    """
    passes = {label: spec.method(label, seed=0).passes_per_update for label in spec.labels}
    seconds = {label: median_epoch_seconds(history, label) for label in spec.labels}
    costs = {}
    for label in spec.labels:
        reference = find_reference(spec, label, relative_to)
        reference_passes = passes[reference] if reference else 1 if relative_to == BASELINE else None
        reference_seconds = seconds[reference] if reference else None
        own_seconds = seconds[label]
        flops = passes[label] / reference_passes if reference_passes else None
        time = own_seconds / reference_seconds if own_seconds and reference_seconds else None
        costs[label] = MethodCost(passes[label], flops, own_seconds, time, reference)
    return costs


def find_reference(spec: ComparisonSpec, label: str, pattern: str) -> str | None:
    """Return the reference method of `label` among the methods with the same network and images.

    Args:
        spec: The spec of the comparison.
        label: The method whose cost is compared; may be its own reference.
        pattern: Label of the reference, else a glob of labels, else a kind of method; the first match wins.

    Returns:
        The reference's label; None if no method matches.
    """
    candidates = [
        other
        for other in spec.labels
        if (spec.model_of(other), spec.data_of(other)) == (spec.model_of(label), spec.data_of(label))
    ]
    kinds = {other: spec.methods[other].kind for other in candidates}
    rules: list[Callable[[str], bool]] = [
        lambda other: other == pattern,
        lambda other: fnmatchcase(other, pattern),
        lambda other: kinds[other] == pattern,
    ]
    return next((other for matches in rules for other in candidates if matches(other)), None)


def median_epoch_seconds(history: Mapping[Trial, Sequence[Row]], label: str) -> float | None:
    """Return the median time of an epoch over all trainings of a method [s]; None if no time was recorded.

    The median, because an epoch that shared the machine with another job should not count.
    """
    rows = [row for trial, epochs in history.items() if trial.method == label for row in epochs]
    seconds = [row["seconds"] for row in rows if "seconds" in row]
    return statistics.median(seconds) if seconds else None
