"""Error attribution as a waterfall: what each part costs alone, and how the costs add up to the whole loss."""

from __future__ import annotations

import math
from typing import Literal

from matplotlib.axes import Axes

from aimc_robust.errors import InputError, require_known, require_type
from aimc_robust.evaluation.attribution import Attribution
from aimc_robust.plot.axes import drawing_axes
from aimc_robust.plot.labels import difference_label, unit_in_brackets
from aimc_robust.plot.style import COLORS, GRAY, wrap_name

MAX_PARTS = 12  # rows that are drawn one by one; of more layers, those that cost the most
COST, GAIN, WHOLE = COLORS[4], COLORS[3], COLORS[0]


def waterfall(attribution: Attribution, kind: Literal["source", "layer"] = "source", ax: Axes | None = None) -> Axes:
    """Draw what each error source, or each layer, costs alone, and how these costs add up to the whole loss.

    Every bar begins where the one above ends. Errors that act together cost more or less than the sum of what each
    costs alone; the row `acting together` is that difference. The last bar is the loss with all errors.

    Args:
        attribution: What `attribute` returns.
        kind: `source`: error sources. `layer`: layers, each with all of its errors.
        ax: Axes to draw on; None: those of a new figure.

    Returns:
        The axes.

    Raises:
        InputError: if the attribution has no layers, or an argument is invalid.

    Example:
        >>> ar.plot.waterfall(ar.attribute(model, data, ar.Crossbar("rram-wan2022")))  # doctest: +SKIP
    """
    require_type("attribution", attribution, Attribution, example="what attribute(model, data, crossbar) returns")
    require_known("kind", kind, ("source", "layer"))
    rows = attribution.table[attribution.table["kind"] == kind]
    if rows.empty:
        raise InputError(f"this attribution has no row of kind {kind!r}; use attribute(..., per_layer=True).")
    metric = attribution.metric
    parts = list(zip(rows["name"], rows["cost_alone"].astype(float), strict=True))
    if len(parts) > MAX_PARTS:
        rest = [cost for _, cost in parts[MAX_PARTS - 1 :]]
        parts = [*parts[: MAX_PARTS - 1], (f"{len(rest)} other {kind}s", math.fsum(rest))]
    whole = float(metric.loss_of(attribution.ideal, attribution.crossbar))
    together = whole - math.fsum(cost for _, cost in parts)
    with drawing_axes(ax, (6.4, 0.9 + 0.34 * (len(parts) + 2))) as axes:
        end = 0.0
        for y, (_, cost) in enumerate(parts):
            end = _bar(axes, y, end, cost, color=COST if cost >= 0 else GAIN)
        end = _bar(axes, len(parts), end, together, color=GRAY)
        _bar(axes, len(parts) + 1, 0.0, whole, color=WHOLE, connect=False)
        for y, (left, width) in enumerate(_spans([*(cost for _, cost in parts), together], whole)):
            text = f"{metric.number(width)}" if y > len(parts) else f"{'+' * (width >= 0)}{metric.number(width)}"
            axes.annotate(
                text, (max(left, left + width), y), (4, 0), textcoords="offset points", va="center", fontsize=9
            )
        axes.axvline(0.0, color=COLORS[0], linewidth=0.8)
        ends = f"{metric.number(attribution.ideal)} to {metric.text(attribution.crossbar)}"
        names = [*(wrap_name(name) for name, _ in parts), "acting together", f"all errors\n{ends}"]
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.margins(x=0.12)
        axes.grid(axis="y", visible=False)
        lost, rise = f"{difference_label(metric)} lost", f"rise of the {metric.title}"
        axes.set_xlabel(lost if metric.is_higher_better else f"{rise}{unit_in_brackets(metric.difference_unit)}")
    return axes


def _bar(axes: Axes, y: int, start: float, width: float, *, color: str, connect: bool = True) -> float:
    """Draw a bar from `start`, and a line from its end down to the next one; return the end."""
    axes.barh(y, width, left=start, height=0.6, color=color)
    end = start + width
    if connect:
        axes.plot([end, end], [y + 0.3, y + 0.7], color=COLORS[0], linewidth=0.8)
    return end


def _spans(costs: list[float], whole: float) -> list[tuple[float, float]]:
    """Return (start, width) of each bar."""
    starts = [math.fsum(costs[:i]) for i in range(len(costs))]
    return [*zip(starts, costs, strict=True), (0.0, whole)]
