"""Comparison of every method with the baseline on each target, and of targets with and without compensation.

Only methods with the same data are compared: values on different test sets are different quantities.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from aimc_robust.experiments.results.folder import Estimates
from aimc_robust.experiments.spec.comparison import ComparisonSpec
from aimc_robust.statistics.estimate import Estimate, best_of, tied_with_best
from aimc_robust.statistics.estimate_keys import Key
from aimc_robust.statistics.paired_difference import Comparison
from aimc_robust.targets.target import CrossbarTarget, Target

Comparisons = Mapping[tuple[Key, Key], Comparison]
"""(first, second) -> comparison, of all comparisons of the page."""
Status = Literal["better", "worse", "unpaired", ""]


@dataclass(frozen=True)
class Ranking:
    """Place of a method on one target.

    Attributes:
        estimate: The method's estimate.
        is_best: Whether it has the best mean of the methods with the same data, if there are several.
        status: Whether its difference from the baseline is settled, or `unpaired`: no training seed in common.
    """

    estimate: Estimate
    is_best: bool
    status: Status

    @property
    def tags(self) -> list[str]:
        """Words that mark the method in a table."""
        return [tag for tag in ("best" if self.is_best else "", self.status) if tag]


@dataclass(frozen=True)
class BaselineComparison:
    """Comparison of the best method on a target with the baseline method.

    Attributes:
        target: The target.
        best: The method with the best mean of those settled to be better than the baseline; if there is none, of all.
        baseline: Label of the baseline.
        best_means: The methods with the best mean, settled or not; several if their means are equal.
        means: Label -> mean.
        comparison: best - baseline; None if the baseline itself is the best.
        largest_lead: How much better than the baseline a method can be at most, in the metric's unit: best end of the
            intervals that are corrected for all comparisons of the page. None unless all methods have one that covers
            further models.
    """

    target: str
    best: str
    baseline: str
    best_means: tuple[str, ...]
    means: Mapping[str, float]
    comparison: Comparison | None
    largest_lead: float | None

    @property
    def settled(self) -> bool:
        """Whether the best method is settled to be better than the baseline."""
        return self.comparison is not None and self.comparison.sign > 0


def baseline_pairs(spec: ComparisonSpec, estimates: Estimates, targets: Iterable[str]) -> Iterator[tuple[Key, Key]]:
    """Yield every (method, baseline) pair on each target.

    A statement about the best method is among them whichever method is the best.
    """
    for target in targets:
        for label, baseline in baselines_of(spec).items():
            if label != baseline and (label, target) in estimates and (baseline, target) in estimates:
                yield (label, target), (baseline, target)


def rank_methods(
    spec: ComparisonSpec, estimates: Estimates, comparisons: Comparisons, targets: Iterable[str]
) -> dict[str, dict[str, Ranking]]:
    """Return target -> label -> ranking of the methods that have rows, given those of `baseline_pairs` as compared."""
    baselines = baselines_of(spec)
    groups = _group_labels(spec.labels, lambda label: spec.data_of(label).model_dump_json())
    rankings: dict[str, dict[str, Ranking]] = {}
    for target in targets:
        here = {label: estimates[label, target] for label in spec.labels if (label, target) in estimates}
        measured = [{label: here[label] for label in group if label in here} for group in groups if len(group) > 1]
        best = {label for group in measured for label in tied_with_best(group)}
        rankings[target] = {
            label: Ranking(
                estimate,
                label in best,
                _status(comparisons.get(((label, target), (baselines[label], target)))),
            )
            for label, estimate in here.items()
        }
    return rankings


def compare_with_baseline(
    spec: ComparisonSpec, estimates: Estimates, comparisons: Comparisons, targets: Iterable[str]
) -> list[BaselineComparison]:
    """Compare the best method with the baseline, for each target and each group of comparable methods.

    None for a group with fewer than two methods that have rows, or without its baseline.
    """
    baselines, found = baselines_of(spec), []
    for target in targets:
        for baseline in dict.fromkeys(baselines.values()):
            group = [label for label in spec.labels if baselines[label] == baseline and (label, target) in estimates]
            if baseline in group and len(group) > 1:
                here = {label: estimates[label, target] for label in group}
                pairs = {label: comparisons.get(((label, target), (baseline, target))) for label in group}
                better = [label for label, pair in pairs.items() if pair is not None and pair.sign > 0]
                best = best_of({label: here[label] for label in better or group})
                means = {label: estimate.mean for label, estimate in here.items()}
                lead = _largest_lead([pair for label, pair in pairs.items() if label != baseline])
                highest = tuple(tied_with_best(here))
                found.append(BaselineComparison(target, best, baseline, highest, means, pairs[best], lead))
    return found


def _largest_lead(comparisons: Sequence[Comparison | None]) -> float | None:
    leads = []
    for comparison in comparisons:
        difference = None if comparison is None else comparison.difference
        if comparison is None or difference is None or comparison.simultaneous_ci is None:
            return None
        if difference.covers != "models":
            return None
        low, high = comparison.simultaneous_ci
        leads.append(high if difference.metric.is_higher_better else -low)
    return max(leads)


def compensation_pairs(
    estimates: Estimates, labels: Sequence[str], targets: Iterable[Target]
) -> Iterator[tuple[Key, Key]]:
    """Yield (with compensation, without) for each target with compensation and each method with rows of both."""
    for target in targets:
        if isinstance(target, CrossbarTarget) and target.corrects is not None:
            pairs = [((label, target.name), (label, target.corrects)) for label in labels]
            yield from (pair for pair in pairs if pair[0] in estimates and pair[1] in estimates)


def baselines_of(spec: ComparisonSpec) -> dict[str, str]:
    """Return the baseline of each method, which has the same data and the same network.

    If no two methods share a network, the networks are the subject of the comparison, and the same data suffice.
    The baseline of a group is `sgd`, else the first method of kind sgd, else the first.
    """

    def data(label: str) -> str:
        return spec.data_of(label).model_dump_json()

    groups = _group_labels(spec.labels, lambda label: (data(label), spec.model_of(label).model_dump_json()))
    if max(len(group) for group in groups) == 1:
        groups = _group_labels(spec.labels, data)
    kinds = {label: spec.methods[label].kind for label in spec.labels}
    return {
        label: min(group, key=lambda label: (label != "sgd", kinds[label] != "sgd"))
        for group in groups
        for label in group
    }


def _group_labels(labels: Sequence[str], key: Callable[[str], Hashable]) -> list[list[str]]:
    """Group labels of equal key, in order of first appearance."""
    groups: dict[Hashable, list[str]] = {}
    for label in labels:
        groups.setdefault(key(label), []).append(label)
    return list(groups.values())


def _status(comparison: Comparison | None) -> Status:
    if comparison is None:
        return ""
    if comparison.difference is None:
        return "unpaired"
    return "better" if comparison.sign > 0 else "worse" if comparison.sign < 0 else ""
