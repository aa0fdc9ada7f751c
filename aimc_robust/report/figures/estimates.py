"""Figures of estimates with their 95 % intervals, of each method or model: over a quantity, and by target."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from aimc_robust.report.metric_text import axis_label
from aimc_robust.report.plot_style import (
    GRAY,
    RenderedFigure,
    Styles,
    add_legend,
    curve_styles,
    figure_style,
    render_figure,
    wrap_name,
)
from aimc_robust.statistics.estimate import Estimate
from aimc_robust.statistics.primary_metric import PrimaryMetric

Curves = Mapping[str, Sequence[tuple[float, Estimate]]]
"""Label of a method or model -> (position, estimate) of its points."""


def estimates_over(
    metric: PrimaryMetric,
    curves: Curves,
    styles: Styles,
    *,
    name: str,
    xlabel: str,
    others: str,
    ticks: Sequence[str] = (),
) -> RenderedFigure:
    """Draw means over a quantity, one line per curve; `others` says what gray curves are.

    `ticks` are names of the positions 0, 1, 2, ...; without them the axis has numbers.
    """
    with figure_style():
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        axes = figure.subplots()
        for label, points in curves.items():
            style, positions, estimates = styles[label], [x for x, _ in points], [e for _, e in points]
            means = [estimate.mean for estimate in estimates]
            if style.number is None:
                axes.plot(positions, means, **style.line)
            else:
                options = style.points | {"capsize": 2.5, "linewidth": 1.4, "label": label}
                axes.errorbar(positions, means, yerr=interval_arms(estimates), **options)
        if ticks:
            axes.set_xticks(range(len(ticks)), ticks)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(axis_label(metric))
        add_legend(figure, axes, styles, others)
        return render_figure(figure, name)


def estimates_by_target(
    metric: PrimaryMetric,
    targets: Sequence[str],
    estimates: Mapping[tuple[str, str], Estimate],
    styles: Styles,
    *,
    name: str,
    others: str,
    with_chips: bool = False,
) -> RenderedFigure:
    """Draw means with intervals, a line per target; `with_chips` adds a stroke for every chip."""
    highlighted = [label for label, style in styles.items() if style.number is not None]
    height = max(0.3 * len(highlighted), 0.42) * len(targets) if with_chips else 0.62 * len(targets)
    height += 0.9 if with_chips else 0.9 + 0.2 * len(highlighted)
    with figure_style():
        figure = Figure(figsize=(6.4, height), layout="constrained")
        axes = figure.subplots()
        for label, style in styles.items():
            places = [(y, estimates[label, t]) for y, t in enumerate(targets) if (label, t) in estimates]
            shown, means = [estimate for _, estimate in places], [estimate.mean for _, estimate in places]
            if style.number is None:
                axes.plot(means, [y for y, _ in places], "|", color=GRAY, markersize=14, zorder=1.5)
                continue
            lines = np.array([y for y, _ in places]) + 0.7 * ((style.number + 0.5) / len(highlighted) - 0.5)
            for y, estimate in zip(lines, shown if with_chips else (), strict=False):
                values = estimate.table[metric.name]
                axes.plot(values, np.full(len(values), y), "|", color=style.color, alpha=0.45, markersize=9)
            options = style.points | {"capsize": 2.5, "label": label, "linestyle": "none"}
            axes.errorbar(means, lines, xerr=interval_arms(shown), **options)
        axes.set_yticks(range(len(targets)), [wrap_name(name) for name in targets])
        axes.set_ylim(len(targets) - 0.45, -0.55)
        axes.set_xlabel(axis_label(metric))
        axes.grid(axis="y", visible=False)
        for y in range(1, len(targets)):
            axes.axhline(y - 0.5, color="#d0d0d0", linewidth=0.8)
        if len(styles) > 1:
            add_legend(figure, axes, styles, others)
        return render_figure(figure, name)


def interval_arms(estimates: Iterable[Estimate]) -> npt.NDArray[np.float64]:
    """Distances of the means from the ends of their intervals, shape (2, estimates); 0 without an interval."""
    arms = np.array([(e.mean - e.ci[0], e.ci[1] - e.mean) for e in estimates]).reshape(-1, 2).T
    return np.abs(np.nan_to_num(arms))


def styles_by_mean(metric: PrimaryMetric, curves: Mapping[str, Sequence[Estimate]]) -> Styles:
    """Give each curve a style; of many, highlight those with the best average."""
    losses = {
        name: metric.loss_of(0.0, math.fsum(e.mean for e in estimates) / len(estimates)) if estimates else math.inf
        for name, estimates in curves.items()
    }
    return curve_styles(list(curves), sorted(losses, key=losses.__getitem__))
