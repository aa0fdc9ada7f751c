"""Who is best under a target, who is tied with it, and whether the best is told apart from the baseline.

Only methods with equal images are set against each other: an accuracy on other images is another quantity.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

from aimc_robust.errors import InputError
from aimc_robust.experiments.spec.comparison import ComparisonSpec
from aimc_robust.statistics.accuracy_estimate import AccuracyEstimate
from aimc_robust.statistics.paired_difference import PairedDifference, paired_difference
from aimc_robust.targets.target import Target

Estimates = Mapping[tuple[str, str], AccuracyEstimate]


@dataclass(frozen=True)
class Ranking:
    """A method's place in one target's column, among the methods with the same images."""

    estimate: AccuracyEstimate
    place: str  # "best", "tied" (not told apart from it), "unpaired" (no seed in common with it) or "" (behind, alone)


@dataclass(frozen=True)
class BaselineComparison:
    """The best method of a target against the baseline, on the same chips and images."""

    target: str
    best: str
    baseline: str
    best_mean: float
    baseline_mean: float
    difference: PairedDifference | None  # None: no seed in common

    @property
    def settled(self) -> bool:
        """Whether the best is told apart from the baseline."""
        return self.difference is not None and self.difference.settled


@dataclass(frozen=True)
class CompensationEffect:
    """What a compensation does to one method's accuracy on the same chips."""

    target: str
    method: str
    compensation: str
    before: AccuracyEstimate
    after: AccuracyEstimate
    difference: PairedDifference | None


def rankings(spec: ComparisonSpec, estimates: Estimates, target: str) -> dict[str, Ranking]:
    """Method -> its standing, in the spec's order, of those that have rows."""
    groups = _groups(spec.labels, lambda label: spec.data_of(label).model_dump_json())
    placed: dict[str, Ranking] = {}
    for labels in groups:
        found = {label: estimates[label, target] for label in labels if (label, target) in estimates}
        if found:
            best = max(found, key=lambda label: found[label].mean)
            alone = len(labels) == 1 and len(groups) > 1
            for label, estimate in found.items():
                place = ("" if alone else "best") if label == best else _place(found[best], estimate)
                placed[label] = Ranking(estimate, place)
    return {label: placed[label] for label in spec.labels if label in placed}


def comparisons_with_baseline(spec: ComparisonSpec, rankings: Mapping[str, Mapping[str, Ranking]]) -> list[BaselineComparison]:
    """For each target, and each group of methods with equal images and network, the best against the baseline.

    Where no two methods have the same network, networks are what is compared, and equal images are enough.
    """
    data = lambda label: spec.data_of(label).model_dump_json()  # noqa: E731
    groups = _groups(spec.labels, lambda label: (data(label), spec.model_of(label).model_dump_json()))
    if max(len(group) for group in groups) == 1:
        groups = _groups(spec.labels, data)
    found = [
        _comparison_with_baseline(spec, group, target, placed)
        for target, placed in rankings.items()
        for group in groups
    ]
    return [finding for finding in found if finding is not None]


def baseline_of(spec: ComparisonSpec, labels: Sequence[str]) -> str:
    """What the best of `labels` is set against: `sgd`, else the first of that kind, else the first."""
    kinds = {label: spec.methods[label].get("kind", label) for label in labels}
    return min(labels, key=lambda label: (label != "sgd", kinds[label] != "sgd"))


def effects(estimates: Estimates, methods: Sequence[str], target: Target) -> list[CompensationEffect]:
    """Each method under a compensated target beside the same without."""
    names = " and ".join(target.deployment.compensation)
    pairs = [(m, estimates.get((m, target.corrects)), estimates.get((m, target.name))) for m in methods]
    return [
        CompensationEffect(target.corrects, method, names, before, after, difference(after, before))
        for method, before, after in pairs
        if before is not None and after is not None
    ]


def difference(first: AccuracyEstimate, second: AccuracyEstimate) -> PairedDifference | None:
    """Their paired difference; None where failures left them no seed in common."""
    try:
        return paired_difference(first, second)
    except InputError:
        return None


def _groups(labels: Sequence[str], key: Callable[[str], Hashable]) -> list[list[str]]:
    """The labels in groups of equal key, in order of first appearance."""
    found: dict[Hashable, list[str]] = {}
    for label in labels:
        found.setdefault(key(label), []).append(label)
    return list(found.values())


def _place(best: AccuracyEstimate, other: AccuracyEstimate) -> str:
    found = difference(best, other)
    if found is None:
        return "unpaired"
    return "" if found.settled else "tied"


def _comparison_with_baseline(
    spec: ComparisonSpec, labels: Sequence[str], target: str, placed: Mapping[str, Ranking]
) -> BaselineComparison | None:
    """The best against the baseline; None where there is nothing to compare."""
    found = {label: placed[label].estimate for label in labels if label in placed}
    baseline = baseline_of(spec, labels)
    if baseline not in found or len(found) < 2:
        return None
    best = max(found, key=lambda label: found[label].mean)
    top, base = found[best], found[baseline]
    return BaselineComparison(target, best, baseline, top.mean, base.mean, difference(top, base))
