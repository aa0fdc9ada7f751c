"""What the methods of a comparison cost: passes per update, and measured time per epoch, beside the baseline's."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from aimc_robust.experiments.results.trial import Trial
from aimc_robust.experiments.spec.comparison import ComparisonSpec
from aimc_robust.io.atomic import Row

BASELINE = "sgd"


@dataclass(frozen=True)
class Cost:
    """What one method costs.

    passes: forward and backward passes per update, each over one batch. flops: the same over that of `reference`, which
    is the ratio of computation, as both take the same batches through the same network. seconds: median time of an
    epoch, its validation included [s]. time: that over the reference's. None: not known.
    """

    passes: int
    flops: float | None
    seconds: float | None
    time: float | None
    reference: str | None  # the label that both ratios are to


def costs(spec: ComparisonSpec, history: Mapping[Trial, Sequence[Row]], relative_to: str = BASELINE) -> dict[str, Cost]:
    """Label -> cost, relative to `relative_to` (a label, a glob of labels, or a kind) of the same network and images.

    SGD takes one pass, whether the comparison has it or not.
    """
    passes = {label: spec.method(label, seed=0).passes_per_update for label in spec.labels}
    seconds = {label: median_epoch_seconds(history, label) for label in spec.labels}
    found = {}
    for label in spec.labels:
        reference = find_reference(spec, label, relative_to)
        base = passes[reference] if reference else 1 if relative_to == BASELINE else None
        own, theirs = seconds[label], seconds[reference] if reference else None
        flops = passes[label] / base if base else None
        found[label] = Cost(passes[label], flops, own, own / theirs if own and theirs else None, reference)
    return found


def find_reference(spec: ComparisonSpec, label: str, wanted: str) -> str | None:
    """The method that `label` is set against: itself or another of equal network and images, called `wanted`; else one
    that the glob `wanted` matches; else one of that kind. None where there is no such.
    """
    same = [
        other
        for other in spec.labels
        if (spec.model_of(other), spec.data_of(other)) == (spec.model_of(label), spec.data_of(label))
    ]
    kinds = {other: spec.methods[other].get("kind", other) for other in same}
    for fits in (lambda m: m == wanted, lambda m: fnmatchcase(m, wanted), lambda m: kinds[m] == wanted):
        found = [other for other in same if fits(other)]
        if found:
            return found[0]
    return None


def median_epoch_seconds(history: Mapping[Trial, Sequence[Row]], label: str) -> float | None:
    """Median time of an epoch over all trainings of a method [s]; None where none was measured.

    The median: an epoch that shared the machine with something else should not count.
    """
    rows = [row for trial, of_cell in history.items() if trial.method == label for row in of_cell]
    return statistics.median(found) if (found := [row["seconds"] for row in rows if "seconds" in row]) else None
