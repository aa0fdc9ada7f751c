"""The values that a comparison measured for the cells of a published table, and their differences."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aimc_robust.errors import InputError, UnknownNameError
from aimc_robust.report.comparison.histories import MethodCost
from aimc_robust.statistics.estimate import Estimate

from .layout import Layout, PublishedCell

DIGITS = {"accuracy": 2, "top5": 2, "loss": 4}
Estimates = Mapping[tuple[str, str], Estimate]
"""(label, target) -> estimate."""


@dataclass(frozen=True)
class MeasuredValue:
    """A value measured by this comparison for one cell of the table.

    Attributes:
        value: Mean [unit of the cell's metric].
        sd_noise: Standard deviation over chips within one model; NaN with a single chip.
        sd_seed: Standard deviation over trained models; NaN with a single model.
        label: The selected method if the cell stands for several: the best by this very value, as papers show it.
    """

    value: float
    sd_noise: float = math.nan
    sd_seed: float = math.nan
    label: str | None = None


@dataclass(frozen=True)
class Entry:
    """A cell of the published table and the value measured for it.

    Attributes:
        cell: The cell with its published value.
        measured: The measured value; None without rows.
    """

    cell: PublishedCell
    measured: MeasuredValue | None

    @property
    def digits(self) -> int:
        """Number of decimals of the cell's metric."""
        return 2 if self.cell.cost else DIGITS[self.cell.metric]

    @property
    def difference(self) -> float | None:
        """Measured - published; None if either is missing."""
        if self.measured is None or self.cell.published is None:
            return None
        return self.measured.value - self.cell.published.value

    @property
    def within(self) -> bool | None:
        """Whether the difference lies within the combined standard deviation.

        |measured - published| <= sqrt(sum of squares of sd_noise and sd_seed of both sides); a deviation that is not
        given counts as 0. None without a difference, or if no deviation is given at all.
        """
        if self.measured is None or self.cell.published is None or self.difference is None:
            return None
        deviations = [sd for side in (self.measured, self.cell.published) for sd in (side.sd_noise, side.sd_seed)]
        known = [sd for sd in deviations if sd is not None and not math.isnan(sd)]
        return abs(self.difference) <= math.hypot(*known) if known else None


def measured_entries(
    layout: Layout, labels: Sequence[str], estimates: Estimates, costs: Mapping[str, MethodCost]
) -> list[list[Entry]]:
    """Fill a published table with measured values.

    Args:
        layout: Its layout.
        labels: Labels of the spec's methods.
        estimates: (label, target) -> estimate.
        costs: Label -> training cost.

    Returns:
        The cells, row by row.
    """
    return [
        [Entry(cell, _measured_cost(cell, costs) if cell.cost else _measured_metric(cell, estimates)) for cell in row]
        for row in layout.cells(labels)
    ]


def best_label(labels: tuple[str, ...], target: str, estimates: Estimates, *, lowest: bool = False) -> str | None:
    """Return the label with the highest mean on a target.

    Args:
        labels: The candidates.
        target: Name of the target.
        estimates: (label, target) -> estimate.
        lowest: Return the label with the lowest mean instead, as for a loss.

    Returns:
        The label; None if no candidate has rows.
    """
    candidates = [label for label in labels if (label, target) in estimates]
    select = min if lowest else max
    return select(candidates, key=lambda label: estimates[label, target].mean, default=None)


def _measured_metric(cell: PublishedCell, estimates: Estimates) -> MeasuredValue | None:
    target = cell.target or ""
    values = {}
    for label in cell.methods:
        estimate = estimates.get((label, target))
        if estimate is not None:
            try:
                values[label, target] = estimate if cell.metric == "accuracy" else estimate.for_column(cell.metric)
            except (InputError, UnknownNameError):  # rows without this metric, or a loss that overflowed on some chip
                continue
    best_method = best_label(cell.methods, target, values, lowest=cell.metric == "loss")
    if best_method is None:
        return None
    best = values[best_method, target]
    return MeasuredValue(best.mean, best.sd_noise, best.sd_seed, best_method if len(cell.methods) > 1 else None)


def _measured_cost(cell: PublishedCell, costs: Mapping[str, MethodCost]) -> MeasuredValue | None:
    ratios = {label: costs[label].passes if cell.cost == "flops" else costs[label].time for label in cell.methods}
    known = [ratio for ratio in ratios.values() if ratio is not None]
    return MeasuredValue(float(statistics.median(known))) if known else None
