"""What a report says, gathered from the rows: plain values that both the page and the Markdown lay out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.filenames import COVERAGE, ENVIRONMENT, SPEC
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.io.atomic import Row
from aimc_robust.report.comparison.claims import Verdict, verdicts
from aimc_robust.report.comparison.costs import Cost, costs
from aimc_robust.report.comparison.landscapes import SurfacesByMethod, landscapes
from aimc_robust.report.comparison.paper_table import PaperTable, paper_table, smaller
from aimc_robust.report.comparison.rankings import (
    BaselineComparison,
    CompensationEffect,
    Ranking,
    comparisons_with_baseline,
    effects,
    rankings,
)
from aimc_robust.statistics.accuracy_estimate import AccuracyEstimate
from aimc_robust.targets.target import Target

COLUMNS = 6  # targets side by side, what a printed page holds
Estimates = dict[tuple[str, str], AccuracyEstimate]


@dataclass(frozen=True)
class Content:
    """All that a report says."""

    store: ComparisonResults
    targets: dict[str, Target]  # all but landscapes
    history: dict[Trial, list[Row]]  # of trainings, a row per epoch
    estimates: Estimates
    top5: dict[tuple[str, str], float]  # mean top-5 accuracy [percent] where it was measured
    columns: list[list[str]]  # targets, in groups that fit a page side by side
    rankings: dict[str, dict[str, Ranking]]  # target -> method -> standing
    comparisons_with_baseline: list[BaselineComparison]
    costs: dict[str, Cost]
    paper: PaperTable | None
    verdicts: list[Verdict]
    devices: list[Target]
    effects: list[CompensationEffect]
    failures: dict[str, str]
    missing: int  # models of the spec that lack rows and have not failed
    landscapes: dict[str, SurfacesByMethod]  # target -> method -> loss over the plane
    coverage: str
    environments: list[dict[str, Any]]
    spec_text: str
    images: list[tuple[str, int]]  # name and number of test images of each data set
    smaller: str | None  # scale and overrides, in words

    @property
    def sampling_errors(self) -> tuple[float, float] | None:
        """Least and greatest 95 % half-width [points] that the finite test set leaves on the accuracies shown."""
        found = [e for (_, target), e in self.estimates.items() if self._on_test_images(target)]
        widths = [estimate.sampling_half_width for estimate in found]
        return (min(widths), max(widths)) if widths else None

    @property
    def covers(self) -> str:
        """What the intervals shown generalise over: `models`, `chips`, or `mixed` where failures left single models."""
        kinds = {estimate.ci_covers for estimate in self.estimates.values()}
        return kinds.pop() if len(kinds) == 1 else "mixed"

    def _on_test_images(self, target: str) -> bool:
        return target in self.targets and self.targets[target].split == "test"


def gather(store: ComparisonResults, frame: pd.DataFrame | None = None, history: dict[Trial, list[Row]] | None = None) -> Content:
    """Read a results folder, finished or not. frame, history: its rows, where they have been read already."""
    frame = store.table() if frame is None else frame
    history = store.histories() if history is None else history
    spec, found = store.spec, store.estimates(frame)
    targets = {target.name: target for target in store.targets if target.landscape is None}
    placed = {name: rankings(spec, found, name) for name in targets}
    failures = {trial: reason for trial in store.trials if (reason := store.failure(trial)) is not None}
    relative_to = {} if spec.paper is None else {"relative_to": spec.paper.relative_to}
    return Content(
        store=store,
        targets=targets,
        history=history,
        estimates=found,
        top5=_top5(frame),
        columns=_columns(list(targets.values())),
        rankings=placed,
        comparisons_with_baseline=comparisons_with_baseline(spec, placed),
        costs=costs(spec, history),
        paper=paper_table(spec, found, costs(spec, history, **relative_to)),
        verdicts=verdicts(spec, found),
        devices=devices(targets.values()),
        effects=[effect for t in targets.values() if t.corrects for effect in effects(found, spec.labels, t)],
        failures={str(trial): reason for trial, reason in failures.items()},
        missing=len(_unfinished_trials(store, frame) - set(failures)),
        landscapes=landscapes(store, frame),
        coverage=(store.read_json_file(COVERAGE) or {}).get("line", ""),
        environments=store.read_json_file(ENVIRONMENT) or [],
        spec_text=(store.folder / SPEC).read_text(encoding="utf-8"),
        images=_images(store, targets, frame),
        smaller=smaller(spec),
    )


def devices(targets: Iterable[Target]) -> list[Target]:
    """The crossbars, without those that only add a compensation."""
    return [t for t in targets if isinstance(t.condition, Crossbar) and t.corrects is None]


def _unfinished_trials(store: ComparisonResults, frame: pd.DataFrame) -> set[Trial]:
    """The trials that lack rows that the spec asks for."""
    wanted = {target.name: target.chips(store.spec.chips) for target in store.targets}
    asked = frame[frame["chip"] < frame["target"].map(wanted).fillna(0)]
    rows = asked.groupby(["method", "seed"]).size().to_dict()
    return {trial for trial in store.trials if rows.get((trial.method, trial.seed), 0) < sum(wanted.values())}


def _columns(targets: list[Target]) -> list[list[str]]:
    """Digital and devices first, then the noises; at most COLUMNS side by side, in even parts."""
    kinds = [[t.name for t in targets if (t.backend == "noise") is noise] for noise in (False, True)]
    groups = []
    for kind in kinds:
        parts = math.ceil(len(kind) / COLUMNS)
        groups += [kind[len(kind) * i // parts : len(kind) * (i + 1) // parts] for i in range(parts)]
    return groups


def _top5(frame: pd.DataFrame) -> dict[tuple[str, str], float]:
    """Mean over models of their chip means, as the accuracy's."""
    if "top5" not in frame:
        return {}
    models = frame.dropna(subset="top5").groupby(["method", "target", "seed"])["top5"].mean()
    return models.groupby(["method", "target"]).mean().to_dict()


def _images(store: ComparisonResults, targets: Mapping[str, Target], frame: pd.DataFrame) -> list[tuple[str, int]]:
    """(name, test images) of each data set, as far as there are rows; one without rows has 0."""
    test = [name for name, target in targets.items() if target.split == "test"]
    counts = frame[frame["target"].isin(test)].groupby("method")["n"].max()
    found = [(store.spec.data_of(label).name, int(counts.get(label, 0))) for label in store.spec.labels]
    counted = {name for name, count in found if count}
    return list(dict.fromkeys((name, count) for name, count in found if count or name not in counted))
