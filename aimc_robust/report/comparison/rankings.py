"""Ranking of the methods on each target, and comparison of the best method with the baseline.

Only methods with the same images are compared: accuracies on different test sets are different quantities.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from aimc_robust.errors import InputError
from aimc_robust.experiments.spec.comparison import ComparisonSpec
from aimc_robust.statistics.accuracy_estimate import AccuracyEstimate
from aimc_robust.statistics.paired_difference import PairedDifference, paired_difference
from aimc_robust.targets.target import CrossbarTarget, Target

Estimates = Mapping[tuple[str, str], AccuracyEstimate]
"""(label, target) -> estimate."""
Status = Literal["best", "tied", "unpaired", ""]


@dataclass(frozen=True)
class Ranking:
    """Rank of a method on one target, among the methods with the same images.

    Attributes:
        estimate: The method's accuracy.
        status: `best`: highest mean. `tied`: the 95 % interval of the paired difference from the best includes 0.
            `unpaired`: no training seed in common with the best. Empty: worse than the best, or the only method.
    """

    estimate: AccuracyEstimate
    status: Status


@dataclass(frozen=True)
class BaselineComparison:
    """Comparison of the best method on a target with the baseline method.

    Attributes:
        target: The target.
        best: Label of the method with the highest mean.
        baseline: Label of the baseline.
        best_mean: Mean accuracy of the best method [percent].
        baseline_mean: Mean accuracy of the baseline [percent].
        difference: best - baseline, paired over models and chips; None without a training seed in common.
    """

    target: str
    best: str
    baseline: str
    best_mean: float
    baseline_mean: float
    difference: PairedDifference | None

    @property
    def settled(self) -> bool:
        """Whether the interval of the difference excludes 0."""
        return self.difference is not None and self.difference.settled


@dataclass(frozen=True)
class CompensationEffect:
    """Effect of a compensation on the accuracy of one method, on the same chips.

    Attributes:
        target: The target without compensation.
        method: Label of the method.
        compensation: Names of the compensations, joined by "and".
        before: Accuracy without compensation.
        after: Accuracy with compensation.
        difference: after - before, paired; None without a training seed in common.
    """

    target: str
    method: str
    compensation: str
    before: AccuracyEstimate
    after: AccuracyEstimate
    difference: PairedDifference | None


def rank_methods(spec: ComparisonSpec, estimates: Estimates, target: str) -> dict[str, Ranking]:
    """Rank the methods that have rows on a target.

    Args:
        spec: The spec of the comparison.
        estimates: (label, target) -> estimate.
        target: Name of the target.

    Returns:
        Label -> ranking, in the order of the spec.
    """
    groups = _group_labels(spec.labels, lambda label: spec.data_of(label).model_dump_json())
    ranked: dict[str, Ranking] = {}
    for labels in groups:
        group = {label: estimates[label, target] for label in labels if (label, target) in estimates}
        if group:
            best = max(group, key=lambda label: group[label].mean)
            only_method = len(labels) == 1 and len(groups) > 1
            for label, estimate in group.items():
                status = ("" if only_method else "best") if label == best else _status(group[best], estimate)
                ranked[label] = Ranking(estimate, status)
    return {label: ranked[label] for label in spec.labels if label in ranked}


def compare_with_baseline(
    spec: ComparisonSpec, rankings: Mapping[str, Mapping[str, Ranking]]
) -> list[BaselineComparison]:
    """Compare the best method with the baseline, for each target and each group of comparable methods.

    Methods of a group have the same images and the same network. If no two methods share a network, the networks are
    the subject of the comparison, and the same images suffice.

    Args:
        spec: The spec of the comparison.
        rankings: Target -> label -> ranking.

    Returns:
        The comparisons; none for a group with fewer than two methods that have rows, or without its baseline.
    """

    def data(label: str) -> str:
        return spec.data_of(label).model_dump_json()

    groups = _group_labels(spec.labels, lambda label: (data(label), spec.model_of(label).model_dump_json()))
    if max(len(group) for group in groups) == 1:
        groups = _group_labels(spec.labels, data)
    comparisons = [
        _compare_best_with_baseline(spec, group, target, ranked)
        for target, ranked in rankings.items()
        for group in groups
    ]
    return [comparison for comparison in comparisons if comparison is not None]


def baseline_of(spec: ComparisonSpec, labels: Sequence[str]) -> str:
    """Return the baseline among `labels`: `sgd`, else the first method of kind sgd, else the first."""
    kinds = {label: spec.methods[label].kind for label in labels}
    return min(labels, key=lambda label: (label != "sgd", kinds[label] != "sgd"))


def compensation_effects(estimates: Estimates, labels: Sequence[str], target: Target) -> list[CompensationEffect]:
    """Return the effect of a target's compensation on each method that has rows with and without it.

    Args:
        estimates: (label, target) -> estimate.
        labels: The methods.
        target: A target with compensation.

    Returns:
        One effect per method.
    """
    if not isinstance(target, CrossbarTarget) or target.corrects is None:
        return []
    names = " and ".join(target.deployment.compensation)
    effects = []
    for label in labels:
        before, after = estimates.get((label, target.corrects)), estimates.get((label, target.name))
        if before is not None and after is not None:
            difference = _paired_difference(after, before)
            effects.append(CompensationEffect(target.corrects, label, names, before, after, difference))
    return effects


def _paired_difference(first: AccuracyEstimate, second: AccuracyEstimate) -> PairedDifference | None:
    """The paired difference; None if failed trainings left no seed in common."""
    try:
        return paired_difference(first, second)
    except InputError:
        return None


def _group_labels(labels: Sequence[str], key: Callable[[str], Hashable]) -> list[list[str]]:
    """Group labels of equal key, in order of first appearance."""
    groups: dict[Hashable, list[str]] = {}
    for label in labels:
        groups.setdefault(key(label), []).append(label)
    return list(groups.values())


def _status(best: AccuracyEstimate, other: AccuracyEstimate) -> Status:
    difference = _paired_difference(best, other)
    if difference is None:
        return "unpaired"
    return "" if difference.settled else "tied"


def _compare_best_with_baseline(
    spec: ComparisonSpec, labels: Sequence[str], target: str, ranked: Mapping[str, Ranking]
) -> BaselineComparison | None:
    estimates = {label: ranked[label].estimate for label in labels if label in ranked}
    baseline = baseline_of(spec, labels)
    if baseline not in estimates or len(estimates) < 2:
        return None
    best = max(estimates, key=lambda label: estimates[label].mean)
    top, base = estimates[best], estimates[baseline]
    return BaselineComparison(target, best, baseline, top.mean, base.mean, _paired_difference(top, base))
