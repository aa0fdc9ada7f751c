"""What a report says, gathered from the rows: plain values that both the page and the Markdown lay out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from aimc_robust.bench.store import COVERAGE, ENVIRONMENT, SPEC, TARGETS, Store
from aimc_robust.bench.tables import estimates
from aimc_robust.devices.card import Card
from aimc_robust.evaluation.estimate import AccuracyEstimate
from aimc_robust.evaluation.paired import PairedDifference, paired_difference

Estimates = dict[tuple[str, str], AccuracyEstimate]


@dataclass(frozen=True)
class Standing:
    """A method's place in one target's column: the best, not told apart from it (tied), or behind."""

    estimate: AccuracyEstimate
    place: str  # "best", "tied" or ""


@dataclass(frozen=True)
class Finding:
    """The best method of a target against the baseline, on the same chips."""

    target: str
    best: str
    best_mean: float
    baseline_mean: float
    difference: PairedDifference

    @property
    def settled(self) -> bool:
        """Whether the best is told apart from the baseline."""
        return self.difference.settled


@dataclass(frozen=True)
class Content:
    """All that a report says."""

    store: Store
    estimates: Estimates
    columns: list[list[str]]  # targets, in groups that fit a page side by side
    standings: dict[str, dict[str, Standing]]  # target -> method -> standing
    findings: list[Finding]
    baseline: str
    devices: list[tuple[Card, dict[str, Any]]]
    failures: dict[str, str]
    missing: int  # models of the spec without any row and without a failure
    coverage: str
    environments: list[dict[str, Any]]
    spec_text: str
    images: int  # test images

    @property
    def sampling_error(self) -> float:
        """95 % half-width [points] that the finite test set adds at the best digital accuracy, or at 90 %."""
        digital = [e.mean for (_, target), e in self.estimates.items() if target == "digital"]
        share = min(max(digital, default=90.0) / 100.0, 1.0 - 1.0 / max(self.images, 1))
        return 196.0 * math.sqrt(share * (1.0 - share) / max(self.images, 1))


def gather(store: Store) -> Content:
    """Read a results folder, finished or not."""
    frame = store.table()
    found = estimates(frame)
    targets = [target.name for target in store.spec.built_targets()]
    standings = {target: _standings(found, target) for target in targets}
    described = {entry["name"]: entry for entry in store.note(TARGETS) or []}
    devices = [(Card.model_validate(entry["card"]), entry) for entry in described.values() if "card" in entry]
    failures = {str(cell): reason for cell in store.cells if (reason := store.failure(cell)) is not None}
    begun = {(row.method, row.seed) for row in frame[["method", "seed"]].drop_duplicates().itertuples()}
    waiting = [c for c in store.cells if (c.method, c.seed) not in begun and str(c) not in failures]
    baseline = "sgd" if "sgd" in store.spec.labels else store.spec.labels[0]
    return Content(
        store=store,
        estimates=found,
        columns=_groups(store),
        standings=standings,
        findings=[finding for target in targets if (finding := _finding(standings[target], target, baseline))],
        baseline=baseline,
        devices=devices,
        failures=failures,
        missing=len(waiting),
        coverage=(store.note(COVERAGE) or {}).get("line", ""),
        environments=store.note(ENVIRONMENT) or [],
        spec_text=(store.folder / SPEC).read_text(encoding="utf-8"),
        images=int(frame["n"].max()) if len(frame) else 0,
    )


def _groups(store: Store) -> list[list[str]]:
    """Digital and devices first, then the noises that only differ in strength."""
    targets = store.spec.built_targets()
    exact = [t.name for t in targets if t.backend != "noise"]
    noises = [t.name for t in targets if t.backend == "noise"]
    return [group for group in (exact, noises) if group]


def _standings(found: Estimates, target: str) -> dict[str, Standing]:
    column = {method: e for (method, name), e in found.items() if name == target}
    if not column:
        return {}
    best = max(column, key=lambda method: column[method].mean)
    places = {m: "best" if m == best else _place(column[best], e) for m, e in column.items()}
    return {method: Standing(estimate, places[method]) for method, estimate in column.items()}


def _place(best: AccuracyEstimate, other: AccuracyEstimate) -> str:
    return "" if paired_difference(best, other).settled else "tied"


def _finding(standings: dict[str, Standing], target: str, baseline: str) -> Finding | None:
    if baseline not in standings:
        return None
    best = next(method for method, standing in standings.items() if standing.place == "best")
    top, base = standings[best].estimate, standings[baseline].estimate
    return Finding(target, best, top.mean, base.mean, paired_difference(top, base))
