"""What a report says, gathered from the rows: plain values that both the page and the Markdown lay out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from aimc_robust.bench.store import COVERAGE, ENVIRONMENT, SPEC, Store
from aimc_robust.bench.tables import estimates
from aimc_robust.bench.targets import Target
from aimc_robust.evaluation.estimate import AccuracyEstimate
from aimc_robust.evaluation.paired import PairedDifference, paired_difference
from aimc_robust.evaluation.sampling import sampling_half_width
from aimc_robust.hardware.crossbar import Crossbar

COLUMNS = 6  # targets side by side, what a printed page holds
Estimates = dict[tuple[str, str], AccuracyEstimate]


@dataclass(frozen=True)
class Standing:
    """A method's place in one target's column."""

    estimate: AccuracyEstimate
    place: str  # "best", "tied" (not told apart from it), "unpaired" (no seed in common with it) or "" (behind)


@dataclass(frozen=True)
class Finding:
    """The best method of a target against the baseline, on the same chips."""

    target: str
    best: str
    best_mean: float
    baseline_mean: float
    difference: PairedDifference | None  # None: no seed in common

    @property
    def settled(self) -> bool:
        """Whether the best is told apart from the baseline."""
        return self.difference is not None and self.difference.settled


@dataclass(frozen=True)
class Effect:
    """What a compensation does to one method's accuracy on the same chips."""

    target: str
    method: str
    compensation: str
    before: AccuracyEstimate
    after: AccuracyEstimate
    difference: PairedDifference | None


@dataclass(frozen=True)
class Content:
    """All that a report says."""

    store: Store
    estimates: Estimates
    columns: list[list[str]]  # targets, in groups that fit a page side by side
    standings: dict[str, dict[str, Standing]]  # target -> method -> standing
    findings: list[Finding]
    baseline: str
    devices: list[Target]  # crossbars, without those that only add a compensation
    effects: list[Effect]
    failures: dict[str, str]
    missing: int  # models of the spec that lack rows and have not failed
    coverage: str
    environments: list[dict[str, Any]]
    spec_text: str
    images: int  # test images

    @property
    def sampling_errors(self) -> tuple[float, float]:
        """Least and greatest 95 % half-width [points] that the finite test set leaves on the accuracies shown."""
        widths = [sampling_half_width(estimate.mean, self.images) for estimate in self.estimates.values()]
        return min(widths), max(widths)

    @property
    def covers(self) -> str:
        """What the intervals shown generalise over: `models`, `chips`, or `mixed` where failures left single models."""
        kinds = {estimate.ci_covers for estimate in self.estimates.values()}
        return kinds.pop() if len(kinds) == 1 else "mixed"


def gather(store: Store) -> Content:
    """Read a results folder, finished or not."""
    frame = store.table()
    found = estimates(frame)
    targets = store.spec.built_targets()
    standings = {target.name: _standings(found, target.name) for target in targets}
    failures = {str(cell): reason for cell in store.cells if (reason := store.failure(cell)) is not None}
    waiting = [c for c in store.cells if not store.is_evaluated(c) and str(c) not in failures]
    baseline = "sgd" if "sgd" in store.spec.labels else store.spec.labels[0]
    return Content(
        store=store,
        estimates=found,
        columns=_groups(store),
        standings=standings,
        findings=[finding for target in standings if (finding := _finding(standings[target], target, baseline))],
        baseline=baseline,
        devices=[t for t in targets if isinstance(t.condition, Crossbar) and t.corrects is None],
        effects=[effect for t in targets if t.corrects for effect in _effects(found, store.spec.labels, t)],
        failures=failures,
        missing=len(waiting),
        coverage=(store.note(COVERAGE) or {}).get("line", ""),
        environments=store.note(ENVIRONMENT) or [],
        spec_text=(store.folder / SPEC).read_text(encoding="utf-8"),
        images=int(frame["n"].max()) if len(frame) else 0,
    )


def _groups(store: Store) -> list[list[str]]:
    """Digital and devices first, then the noises; at most COLUMNS side by side, in even parts."""
    targets = store.spec.built_targets()
    kinds = [[t.name for t in targets if (t.backend == "noise") is noise] for noise in (False, True)]
    groups = []
    for kind in kinds:
        parts = math.ceil(len(kind) / COLUMNS)
        groups += [kind[len(kind) * i // parts : len(kind) * (i + 1) // parts] for i in range(parts)]
    return groups


def _standings(found: Estimates, target: str) -> dict[str, Standing]:
    column = {method: e for (method, name), e in found.items() if name == target}
    if not column:
        return {}
    best = max(column, key=lambda method: column[method].mean)
    places = {m: "best" if m == best else _place(column[best], e) for m, e in column.items()}
    return {method: Standing(estimate, places[method]) for method, estimate in column.items()}


def _place(best: AccuracyEstimate, other: AccuracyEstimate) -> str:
    difference = _difference(best, other)
    if difference is None:
        return "unpaired"
    return "" if difference.settled else "tied"


def _difference(first: AccuracyEstimate, second: AccuracyEstimate) -> PairedDifference | None:
    """Their paired difference; None where failures left them no seed in common."""
    shared = set(first.table["seed"]) & set(second.table["seed"])
    return paired_difference(first, second) if shared else None


def _finding(standings: dict[str, Standing], target: str, baseline: str) -> Finding | None:
    """The best against the baseline; None where there is nothing to compare."""
    if baseline not in standings or len(standings) < 2:
        return None
    best = next(method for method, standing in standings.items() if standing.place == "best")
    top, base = standings[best].estimate, standings[baseline].estimate
    return Finding(target, best, top.mean, base.mean, _difference(top, base))


def _effects(found: Estimates, methods: list[str], target: Target) -> list[Effect]:
    """Each method under a compensated target beside the same without."""
    names = " and ".join(target.deployment.compensation)
    pairs = [(m, found.get((m, target.corrects)), found.get((m, target.name))) for m in methods]
    return [
        Effect(target.corrects, method, names, before, after, _difference(after, before))
        for method, before, after in pairs
        if before is not None and after is not None
    ]
