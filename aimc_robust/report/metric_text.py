"""How pages and the terminal name a metric and write its values: two decimals of a percentage, else four digits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from aimc_robust.errors import InputError, UnknownNameError
from aimc_robust.plot.labels import unit_in_brackets
from aimc_robust.report.formatting import MISSING, format_p_value
from aimc_robust.statistics.estimate import Estimate
from aimc_robust.statistics.paired_difference import PairedDifference
from aimc_robust.statistics.primary_metric import PrimaryMetric


def heading(metric: PrimaryMetric) -> str:
    """Return the metric's title with a capital letter, unless its first word has one: Accuracy, mIoU."""
    title = metric.title
    return title[:1].upper() + title[1:] if title.partition(" ")[0].islower() else title


def best_mean(metric: PrimaryMetric) -> str:
    """Return which mean is the best: `highest mean` or `lowest mean`."""
    return f"{'highest' if metric.is_higher_better else 'lowest'} mean"


def format_value(metric: PrimaryMetric, value: float | None, decimals: int = 2, *, sign: bool = False) -> str:
    """Format a value, spread or difference without its unit; `decimals` are those of a percentage."""
    if value is None or math.isnan(value):
        return MISSING
    text = metric.number(value, decimals)
    return f"+{text}" if sign and not text.startswith("-") else text


def value_text(metric: PrimaryMetric, value: float | None) -> str:
    """Format a value with its unit."""
    return f"{format_value(metric, value)} {metric.unit}".rstrip()


def threshold_text(metric: PrimaryMetric, threshold: float) -> str:
    """Format a threshold with its unit."""
    return f"{threshold:g} {metric.unit}".rstrip()


def at_least(metric: PrimaryMetric) -> str:
    """Return how a value compares with a threshold that it passes: `at least` or `at most`."""
    return f"at {'least' if metric.is_higher_better else 'most'}"


def difference_text(metric: PrimaryMetric, value: float | None, *, sign: bool = False) -> str:
    """Format a difference with its unit."""
    return f"{format_value(metric, value, sign=sign)} {metric.difference_unit}".rstrip()


def limit_text(metric: PrimaryMetric, limit: float) -> str:
    """Format the largest possible difference, 0 or more, rounded up."""
    step = 0.01 if metric.unit == "%" or limit <= 0 else 10.0 ** (math.floor(math.log10(limit)) - 3)
    return difference_text(metric, math.ceil(limit / step - 1e-9) * step)


def interval_text(metric: PrimaryMetric, low: float | None, high: float | None, decimals: int = 2) -> str:
    """Format an interval of values or differences as `[low, high]`; empty for None or NaN."""
    if low is None or high is None or math.isnan(low):
        return ""
    return f"[{metric.number(low, decimals)}, {metric.number(high, decimals)}]"


def ci_text(found: Estimate | PairedDifference, decimals: int = 2) -> str:
    """Format the 95 % interval of an estimate or a difference; empty without one."""
    return interval_text(found.metric, *found.ci, decimals)


def column_text(estimate: Estimate, column: str) -> str:
    """Format the mean of a further column over the same models and chips, and its interval on a second line."""
    try:
        found = estimate.for_column(column)
    except (InputError, UnknownNameError):  # a chip without a finite value
        return MISSING
    return f"{format_value(found.metric, found.mean)}\n{ci_text(found)}".rstrip()


def chips_text(row: Mapping[str, Any], precision: float | None) -> str:
    """Format the number of models and chips of a summary row, with the half-width where it misses `precision`."""
    chips = str(row["chips"]) if row["models"] == 1 else f"{row['models']} x {row['chips']}"
    missed = precision is not None and row["half_width"] > precision * (1.0 + 1e-9)
    return f"{chips}, only ±{row['half_width']:.2g}" if missed else chips


def difference_cells(metric: PrimaryMetric, row: Mapping[str, Any], title: str) -> list[tuple[str, str]]:
    """Format a row of `difference_table` as cells of a page's table; `title` says what is subtracted from what."""
    interval = interval_text(metric, row["ci_low"], row["ci_high"])
    head = f"{title}{unit_in_brackets(metric.difference_unit)}\n95 % interval"
    return [
        (head, f"{format_value(metric, row['difference'])}\n{interval}"),
        ("interval over", f"{row['covers']}\n{row['pairs']} pairs"),
        ("p", format_p_value(row["p"])),
        ("p, corrected", format_p_value(row["p_holm"])),
        ("settled", "yes" if row["settled"] else "no" if row["pairs"] else "unpaired"),
    ]
