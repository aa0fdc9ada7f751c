"""The published table with ours beside it: value, difference, and whether that lies within both deviations."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from aimc_robust.errors import InputError, UnknownNameError
from aimc_robust.experiments.spec.comparison import ComparisonSpec
from aimc_robust.experiments.spec.published_table import PaperCell, PaperSpec
from aimc_robust.report.comparison.costs import Cost
from aimc_robust.statistics.accuracy_estimate import AccuracyEstimate

DIGITS = {"accuracy": 2, "top5": 2, "loss": 4}
Estimates = Mapping[tuple[str, str], AccuracyEstimate]


@dataclass(frozen=True)
class MeasuredValue:
    """Our figure for a cell [its metric's unit]; NaN for a deviation that nothing was repeated for.

    label: the method that it is of, where the cell stands for several: the best by this very figure, as papers show it.
    """

    value: float
    sd_noise: float = math.nan
    sd_seed: float = math.nan
    label: str | None = None


@dataclass(frozen=True)
class Entry:
    """A cell of the table with what we found."""

    cell: PaperCell
    ours: MeasuredValue | None

    @property
    def digits(self) -> int:
        """Digits behind the point that the metric deserves."""
        return 2 if self.cell.cost else DIGITS[self.cell.metric]

    @property
    def difference(self) -> float | None:
        """MeasuredValue - published; None where one of them is not there."""
        if self.ours is None or self.cell.published is None:
            return None
        return self.ours.value - self.cell.published.value

    @property
    def within(self) -> bool | None:
        """Whether the difference lies within both deviations: |ours - published| is at most the root of the sum of
        squares of all four, sd_noise and sd_seed of either side (one that is not given counts as 0). None where there
        is no difference, or no deviation at all to judge it by.
        """
        if self.difference is None:
            return None
        sides = (self.ours, self.cell.published)
        known = [sd for side in sides for sd in (side.sd_noise, side.sd_seed) if sd is not None and not math.isnan(sd)]
        return abs(self.difference) <= math.hypot(*known) if known else None


@dataclass(frozen=True)
class PaperTable:
    """The whole table, row by row."""

    spec: PaperSpec
    entries: list[list[Entry]]

    @property
    def heads(self) -> list[str]:
        """Heads of the columns, the one of the rows' names first."""
        return [self.spec.heading, *(column["title"] for column in self.spec.columns)]

    @property
    def open_points(self) -> list[str]:
        """What the paper leaves open, and how it was settled."""
        return [f"{name}: {text}" for name, text in self.spec.open.items()]

    @property
    def judged(self) -> tuple[int, int]:
        """How many differences lie within both deviations, of how many that could be judged."""
        found = [entry.within for row in self.entries for entry in row if entry.within is not None]
        return sum(found), len(found)


def paper_table(spec: ComparisonSpec, estimates: Estimates, costs: Mapping[str, Cost]) -> PaperTable | None:
    """The spec's published table filled with ours; None without [paper]. costs: relative to the paper's reference."""
    if spec.paper is None:
        return None
    entries = [
        [Entry(cell, _cost(cell, costs) if cell.cost else _figure(cell, estimates)) for cell in row]
        for row in spec.paper.cells(spec.labels)
    ]
    return PaperTable(spec.paper, entries)


def smaller(spec: ComparisonSpec) -> str | None:
    """How the question differs from the one in the spec's file; None where it was asked as written."""
    scale = [f"at the scale {spec.scale}"] if spec.scale is not None else []
    changes = [f"with {', '.join(spec.overrides)}"] if spec.overrides else []
    factors = [f"{key} {factor:g} times" for key, factor in spec.multiply.items()]
    strengths = [f"({', '.join(factors)} what names and labels say)"] if factors else []
    return " ".join(scale + strengths + changes) or None


def best_label(labels: tuple[str, ...], target: str, estimates: Estimates, *, least: bool = False) -> str | None:
    """The label with the highest mean on a target (least: the lowest); None where none has rows."""
    found = [label for label in labels if (label, target) in estimates]
    choose = min if least else max
    return choose(found, key=lambda label: estimates[label, target].mean, default=None)


def _figure(cell: PaperCell, estimates: Estimates) -> MeasuredValue | None:
    of = {}
    for label in cell.methods:
        estimate = estimates.get((label, cell.target))
        if estimate is not None:
            try:
                of[label, cell.target] = estimate if cell.metric == "accuracy" else estimate.for_column(cell.metric)
            except (InputError, UnknownNameError):  # rows without this metric, or a loss that overflowed on some chip
                continue
    label = best_label(cell.methods, cell.target, of, least=cell.metric == "loss")
    if label is None:
        return None
    best = of[label, cell.target]
    return MeasuredValue(best.mean, best.sd_noise, best.sd_seed, label if len(cell.methods) > 1 else None)


def _cost(cell: PaperCell, costs: Mapping[str, Cost]) -> MeasuredValue | None:
    found = [value for label in cell.methods if (value := getattr(costs[label], cell.cost)) is not None]
    return MeasuredValue(statistics.median(found)) if found else None
