"""Content of a comparison's report as plain values, gathered from the rows; HTML and Markdown lay it out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.files import SPEC
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.experiments.spec.comparison import ComparisonSpec
from aimc_robust.io.atomic import Row
from aimc_robust.report.comparison.costs import MethodCost, training_costs
from aimc_robust.report.comparison.landscapes import SurfacesByMethod, loss_surfaces
from aimc_robust.report.comparison.named_sections import section_pairs
from aimc_robust.report.comparison.rankings import (
    BaselineComparison,
    Comparisons,
    CompensationEffect,
    Ranking,
    baseline_pairs,
    compare_with_baseline,
    compensation_effects,
    compensation_pairs,
    rank_methods,
)
from aimc_robust.report.comparison.training_figures import MeanRows, mean_rows
from aimc_robust.report.plot_style import Styles, curve_styles
from aimc_robust.statistics.accuracy_estimate import AccuracyEstimate
from aimc_robust.statistics.difference_table import compare_pairs
from aimc_robust.targets.target import CrossbarTarget, Target

MAX_TARGETS_PER_TABLE = 6  # columns that fit a printed page
Estimates = dict[tuple[str, str], AccuracyEstimate]
"""(method label, target) -> estimate."""


@dataclass(frozen=True)
class ComparisonContent:
    """Everything that a comparison's report states.

    Attributes:
        results: The results folder.
        targets: Name -> target.
        frame: The evaluation rows.
        history: Trial -> one row per epoch of its training.
        means: Label -> the history rows, averaged over its trainings.
        styles: Label -> how figures draw it.
        estimates: (label, target) -> accuracy.
        top5: (label, target) -> mean top-5 accuracy [percent], where it was measured.
        target_groups: Names of the targets, in groups that fit one table.
        rankings: Target -> label -> ranking.
        baseline_comparisons: The best method against the baseline, per target.
        comparisons: (first, second) -> every comparison that the page makes, corrected for their number.
        costs: Label -> training cost.
        devices: Crossbar targets, without those that only add a compensation.
        compensation_effects: Accuracy with and without each compensation.
        failures: Trial -> reason.
        missing: Number of models that lack rows and have not failed.
        landscapes: Name of a landscape -> label -> loss surface.
        coverage: Which weights are analog, in one sentence.
        environments: Versions and threads of every environment that produced rows.
        spec_text: The spec as TOML.
        images: (name, number of test images) of each data set.
        scale_note: How the run deviates from its spec file; None if it does not.
    """

    results: ComparisonResults
    targets: dict[str, Target]
    frame: pd.DataFrame
    history: dict[Trial, list[Row]]
    means: MeanRows
    styles: Styles
    estimates: Estimates
    top5: dict[tuple[str, str], float]
    target_groups: list[list[str]]
    rankings: dict[str, dict[str, Ranking]]
    baseline_comparisons: list[BaselineComparison]
    comparisons: Comparisons
    costs: dict[str, MethodCost]
    devices: list[CrossbarTarget]
    compensation_effects: list[CompensationEffect]
    failures: dict[str, str]
    missing: int
    landscapes: dict[str, SurfacesByMethod]
    coverage: str
    environments: list[dict[str, Any]]
    spec_text: str
    images: list[tuple[str, int]]
    scale_note: str | None

    @property
    def comparison_count(self) -> int:
        """Number of comparisons that the page makes, for which their p values are corrected."""
        return len({frozenset(pair) for pair in self.comparisons})

    @property
    def baselines(self) -> list[str]:
        """Labels of the baselines, each once."""
        return list(dict.fromkeys(comparison.baseline for comparison in self.baseline_comparisons))

    @property
    def sampling_half_widths(self) -> list[float]:
        """95 % half-width of each accuracy on test images due to the finite test set [points]."""
        return [e.sampling_half_width for (_, target), e in self.estimates.items() if self._on_test_images(target)]

    def _on_test_images(self, target: str) -> bool:
        return target in self.targets and self.targets[target].split == "test"


def gather(results: ComparisonResults) -> ComparisonContent:
    """Gather the content of a report from a results folder, finished or not."""
    frame, history = results.table(), results.histories()
    spec, estimates = results.spec, results.estimates(frame)
    targets = {target.name: target for target in results.targets}
    pairs = [
        *baseline_pairs(spec, estimates, targets),
        *section_pairs(results, estimates),
        *compensation_pairs(estimates, spec.labels, targets.values()),
    ]
    comparisons = compare_pairs(estimates, pairs)
    with_baseline = compare_with_baseline(spec, estimates, comparisons, targets)
    failures = {trial: reason for trial in results.trials if (reason := results.failure(trial)) is not None}
    costs = training_costs(spec, history)
    return ComparisonContent(
        results=results,
        targets=targets,
        frame=frame,
        history=history,
        means=mean_rows(spec, history),
        styles=curve_styles(spec.labels, _by_interest(spec, estimates, {c.baseline for c in with_baseline})),
        estimates=estimates,
        top5=_top5(frame),
        target_groups=_target_groups(list(targets.values())),
        rankings=rank_methods(spec, estimates, comparisons, targets),
        baseline_comparisons=with_baseline,
        comparisons=comparisons,
        costs=costs,
        devices=device_targets(targets.values()),
        compensation_effects=compensation_effects(estimates, comparisons, spec.labels, targets.values()),
        failures={str(trial): reason for trial, reason in failures.items()},
        missing=len(_unfinished_trials(results, frame) - set(failures)),
        landscapes=loss_surfaces(results),
        coverage=results.coverage,
        environments=results.environments,
        spec_text=(results.folder / SPEC).read_text(encoding="utf-8"),
        images=_images(results, targets, frame),
        scale_note=scale_note(spec),
    )


def device_targets(targets: Iterable[Target]) -> list[CrossbarTarget]:
    """Return the crossbar targets, without those that only add a compensation."""
    return [t for t in targets if isinstance(t, CrossbarTarget) and t.corrects is None]


def _unfinished_trials(results: ComparisonResults, frame: pd.DataFrame) -> set[Trial]:
    """The trials that lack rows of the spec's targets and chips."""
    chips = {target.name: target.chips(results.spec.chips) for target in results.targets}
    requested = frame[frame["chip"] < frame["target"].map(chips).fillna(0)]
    rows = requested.groupby(["model", "train_seed"]).size().to_dict()
    return {trial for trial in results.trials if rows.get((trial.model, trial.train_seed), 0) < sum(chips.values())}


def _target_groups(targets: list[Target]) -> list[list[str]]:
    """Digital and devices first, then the noises; each kind in evenly sized groups of at most the maximum."""
    kinds = [[t.name for t in targets if (t.backend == "noise") is noise] for noise in (False, True)]
    groups = []
    for kind in kinds:
        parts = math.ceil(len(kind) / MAX_TARGETS_PER_TABLE)
        groups += [kind[len(kind) * i // parts : len(kind) * (i + 1) // parts] for i in range(parts)]
    return groups


def _by_interest(spec: ComparisonSpec, estimates: Estimates, baselines: set[str]) -> list[str]:
    """The baselines, then the methods by their accuracy, averaged over the targets relative to all methods'."""
    scores: dict[str, list[float]] = {label: [] for label in spec.labels}
    for target in dict.fromkeys(target for _, target in estimates):
        means = {label: estimates[label, target].mean for label in spec.labels if (label, target) in estimates}
        for label, mean in means.items():
            scores[label].append(mean - math.fsum(means.values()) / len(means))
    averages = {label: math.fsum(values) / len(values) if values else -math.inf for label, values in scores.items()}
    return sorted(spec.labels, key=lambda label: (label not in baselines, -averages[label]))


def _top5(frame: pd.DataFrame) -> dict[tuple[str, str], float]:
    """Mean over models of their chip means, as for the accuracy."""
    if "top5" not in frame:
        return {}
    models = frame.dropna(subset="top5").groupby(["model", "target", "train_seed"])["top5"].mean()
    return models.groupby(["model", "target"]).mean().to_dict()


def _images(results: ComparisonResults, targets: Mapping[str, Target], frame: pd.DataFrame) -> list[tuple[str, int]]:
    """(name, number of test images) of each data set; 0 for one without rows yet."""
    test = [name for name, target in targets.items() if target.split == "test"]
    counts = frame[frame["target"].isin(test)].groupby("model")["n"].max()
    pairs = [(results.spec.data_of(label).name, int(counts.get(label, 0))) for label in results.spec.labels]
    counted = {name for name, count in pairs if count}
    return list(dict.fromkeys((name, count) for name, count in pairs if count or name not in counted))


def scale_note(spec: ComparisonSpec) -> str | None:
    """Describe how a run deviates from its spec file: scale, factors and overrides; None if it does not."""
    scale = [f"at the scale {spec.scale}"] if spec.scale is not None else []
    changes = [f"with {', '.join(spec.overrides)}"] if spec.overrides else []
    factors = [f"{key} is {factor:g} times" for key, factor in spec.multiply.items()]
    strengths = [f"({', '.join(factors)} the value in names and labels)"] if factors else []
    return " ".join(scale + strengths + changes) or None
