"""Content of a comparison's report as plain values, gathered from the rows; HTML and Markdown lay it out."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from aimc_robust.errors import InputError, warn
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.folder import Estimates
from aimc_robust.experiments.results.summary import extra_metrics
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.experiments.spec.comparison import ComparisonSpec
from aimc_robust.io.atomic import Row
from aimc_robust.io.user_code import import_callable
from aimc_robust.plot.style import Styles, curve_styles
from aimc_robust.report.comparison.histories import MeanRows, MethodCost, mean_rows, training_costs
from aimc_robust.report.comparison.landscapes import SurfacesByMethod, loss_surfaces
from aimc_robust.report.comparison.rankings import (
    BaselineComparison,
    Comparisons,
    Ranking,
    baseline_pairs,
    compare_with_baseline,
    compensation_pairs,
    rank_methods,
)
from aimc_robust.statistics.estimate import Estimate
from aimc_robust.statistics.estimate_keys import Key
from aimc_robust.statistics.paired_difference import compare_pairs
from aimc_robust.statistics.primary_metric import PrimaryMetric, metric_of
from aimc_robust.targets.target import Target

MAX_TARGETS_PER_TABLE = 6  # columns that fit a printed page


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
        estimates: (label, target) -> estimate of the primary metric.
        others: Further metrics.
        target_groups: Names of the targets, in groups that fit one table.
        rankings: Target -> label -> ranking.
        baseline_comparisons: The best method against the baseline, per target.
        comparisons: (first, second) -> every comparison that the page makes, corrected for their number.
        costs: Label -> training cost.
        failures: Trial -> reason.
        missing: Number of models that lack rows and have not failed.
        landscapes: Name of a landscape -> label -> loss surface.
        test_data: (name, number of test items) of each data set.
        scale_note: How the run deviates from its spec file; None if it does not.
    """

    results: ComparisonResults
    targets: dict[str, Target]
    frame: pd.DataFrame
    history: dict[Trial, list[Row]]
    means: MeanRows
    styles: Styles
    estimates: Estimates
    others: list[PrimaryMetric]
    target_groups: list[list[str]]
    rankings: dict[str, dict[str, Ranking]]
    baseline_comparisons: list[BaselineComparison]
    comparisons: Comparisons
    costs: dict[str, MethodCost]
    failures: dict[str, str]
    missing: int
    landscapes: dict[str, SurfacesByMethod]
    test_data: list[tuple[str, int]]
    scale_note: str | None

    @property
    def metric(self) -> PrimaryMetric:
        """The primary metric."""
        return self.results.metric

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
        """95 % half-width of each estimate on test data due to the finite test set [points]; NaN where unknown."""
        tested = {name for name, target in self.targets.items() if target.split == "test"}
        return [estimate.sampling_half_width for (_, name), estimate in self.estimates.items() if name in tested]


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
    comparisons = compare_pairs({**estimates, **_of_other_metrics(estimates, pairs)}, pairs)
    with_baseline = compare_with_baseline(spec, estimates, comparisons, targets)
    failures = {trial: reason for trial in results.trials if (reason := results.failure(trial)) is not None}
    return ComparisonContent(
        results=results,
        targets=targets,
        frame=frame,
        history=history,
        means=mean_rows(spec, history),
        styles=curve_styles(spec.labels, _by_interest(spec, estimates, {c.baseline for c in with_baseline})),
        estimates=estimates,
        others=[metric_of(name, results.others) for name in extra_metrics(frame, results.metric.name)],
        target_groups=_target_groups(list(targets.values())),
        rankings=rank_methods(spec, estimates, comparisons, targets),
        baseline_comparisons=with_baseline,
        comparisons=comparisons,
        costs=training_costs(spec, history),
        failures={str(trial): reason for trial, reason in failures.items()},
        missing=len(_unfinished_trials(results, frame) - set(failures)),
        landscapes=loss_surfaces(results),
        test_data=_test_data(results, targets, frame),
        scale_note=scale_note(spec),
    )


def load_section(reference: str, results: ComparisonResults) -> Callable[..., Any]:
    """Import a section's function, found from the working directory and from the results folder upwards."""
    return import_callable(reference, what="report section", near=[results.folder])


def section_pairs(results: ComparisonResults, estimates: Estimates) -> Iterable[tuple[Key, Key]]:
    """Yield the pairs that the named sections compare, so that the page corrects for them too.

    A section names them by an attribute `pairs` of its function: a function of the spec and the estimates. Pairs are of
    (label, target), or of (label, "METRIC on TARGET") for another metric than the primary one.
    """
    for reference in results.spec.report_sections:
        try:
            function = load_section(reference, results)
        except InputError:  # the page says so, in the section's place
            continue
        try:
            pairs = list(function.pairs(results.spec, estimates)) if hasattr(function, "pairs") else []
        except Exception as error:  # whatever a user's function raises; the rest of the report is written all the same
            warn(
                f"the pairs of report section {reference} cannot be found ({type(error).__name__}: {error}); what it "
                "compares is neither tested nor counted in the correction.",
            )
        else:
            yield from pairs


def _of_other_metrics(estimates: Estimates, pairs: Iterable[tuple[Key, Key]]) -> dict[Key, Estimate]:
    """The estimates of another metric that pairs name by keys such as ("sgd", "loss on digital")."""
    found: dict[Key, Estimate] = {}
    for label, name in itertools.chain.from_iterable(pairs):
        metric, on, target = name.partition(" on ")
        if on and (label, name) not in estimates and (label, target) in estimates:
            found[label, name] = estimates[label, target].for_column(metric)
    return found


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
    """The baselines, then the methods by their estimates, averaged over the targets relative to all methods'."""
    losses: dict[str, list[float]] = {label: [] for label in spec.labels}
    for target in dict.fromkeys(target for _, target in estimates):
        means = {label: estimates[label, target].mean for label in spec.labels if (label, target) in estimates}
        for label, mean in means.items():
            losses[label].append(estimates[label, target].metric.loss_of(math.fsum(means.values()) / len(means), mean))
    averages = {label: math.fsum(values) / len(values) if values else math.inf for label, values in losses.items()}
    return sorted(spec.labels, key=lambda label: (label not in baselines, averages[label]))


def _test_data(results: ComparisonResults, targets: Mapping[str, Target], frame: pd.DataFrame) -> list[tuple[str, int]]:
    """(name, number of test items) of each data set; 0 for one without rows yet."""
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
