"""Figures of a comparison with a panel for each device: each method over time, and the yield of its chips."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aimc_robust.experiments.results.evaluation import group_by_device
from aimc_robust.plot.estimate_plots import draw_over_time
from aimc_robust.plot.style import add_legend, figure_style, wrap_name
from aimc_robust.plot.yield_curve import draw_yields
from aimc_robust.report.comparison.content import ComparisonContent
from aimc_robust.report.rendering import RenderedFigure, render_figure
from aimc_robust.statistics.estimate import Estimate
from aimc_robust.targets.target import CrossbarTarget

COLUMNS, MAX_PANELS = 2, 6  # of more devices, the first are drawn
PANEL = (3.6, 2.7)  # inches


def over_time(content: ComparisonContent) -> RenderedFigure | None:
    """Draw the mean of each method over time, with its interval; None if no device has results at two times."""
    panels: dict[str, Callable[[Axes], None]] = {}
    for family in _families(content):
        curves = {
            label: [(t.time_s, known) for t in family if (known := content.estimates.get((label, t.name)))]
            for label in content.styles
        }
        if len({time_s for points in curves.values() for time_s, _ in points}) > 1:
            shown = {label: points for label, points in curves.items() if points}

            def draw(axes: Axes, shown: dict[str, list[tuple[float, Estimate]]] = shown) -> None:
                draw_over_time(axes, content.metric, shown, content.styles)

            panels[family[0].name] = draw
    return _panels(content, panels, "times")


def yields(content: ComparisonContent) -> RenderedFigure | None:
    """Draw the yield of each method on each device, at its last time; None without several chips."""
    panels: dict[str, Callable[[Axes], None]] = {}
    for family in _families(content):
        name = family[-1].name
        shown = {
            label: known
            for label in content.styles
            if (known := content.estimates.get((label, name))) is not None and known.chips > 1
        }
        if shown:

            def draw(axes: Axes, shown: dict[str, Estimate] = shown) -> None:
                draw_yields(axes, content.metric, shown, content.styles)
                axes.set_ylabel("chips [%]")

            panels[name] = draw
    return _panels(content, panels, "yields")


def yields_caption(content: ComparisonContent) -> str:
    """Return the caption of `yields`, of what is drawn."""
    families = _families(content)
    aged = " at its last time" if any(len(family) > 1 for family in families) else ""
    first = f" Of the {len(families)} devices the first {MAX_PANELS} are drawn." if len(families) > MAX_PANELS else ""
    reach = f"reach a value of the {content.metric.title}"
    return f"Share of the chips of each method that {reach}, on each device{aged}.{first}"


def _families(content: ComparisonContent) -> list[list[CrossbarTarget]]:
    """Return the crossbar targets of each device, by time; those that only add a compensation count as others."""
    targets = [t for t in content.targets.values() if isinstance(t, CrossbarTarget) and t.split == "test"]
    return group_by_device(targets)


def _panels(
    content: ComparisonContent, panels: Mapping[str, Callable[[Axes], None]], name: str
) -> RenderedFigure | None:
    """Draw the first panels in two columns, under one legend of the methods."""
    shown = dict(list(panels.items())[:MAX_PANELS])
    if not shown:
        return None
    columns = min(COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    with figure_style(font_size=9):
        size = (PANEL[0] * columns + (2.8 if columns == 1 else 0.0), PANEL[1] * rows + 0.8)
        figure = Figure(figsize=size, layout="constrained")
        all_axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, (title, draw) in zip(all_axes, shown.items(), strict=False):
            draw(axes)
            axes.set_title(wrap_name(title, 40), loc="left", fontsize=10)
        for axes in all_axes[len(shown) :]:
            axes.set_visible(False)
        add_legend(figure, all_axes[0], content.styles, "methods")
        return render_figure(figure, name)
