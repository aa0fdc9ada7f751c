"""Figures of estimates with their 95 % intervals, of each method or model: over a quantity, by target, as a yield."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from aimc_robust.plot.estimate_plots import Curves, draw_by_target, draw_over_time, interval_arms
from aimc_robust.plot.labels import axis_label
from aimc_robust.plot.style import Styles, add_legend, curve_styles, figure_style
from aimc_robust.plot.yield_curve import draw_yields
from aimc_robust.report.rendering import RenderedFigure, render_figure
from aimc_robust.statistics.estimate import Estimate
from aimc_robust.statistics.primary_metric import PrimaryMetric

SIZE = (6.4, 4.2)  # inches


def estimates_over(
    metric: PrimaryMetric, curves: Curves, styles: Styles, *, name: str, xlabel: str, others: str
) -> RenderedFigure:
    """Draw means with error bars over a quantity, one line per curve; `others` says what gray curves are."""
    with figure_style():
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.subplots()
        for label, points in curves.items():
            style, positions, estimates = styles[label], [x for x, _ in points], [e for _, e in points]
            means = [estimate.mean for estimate in estimates]
            if style.number is None:
                axes.plot(positions, means, **style.line)
            else:
                options = style.points | {"capsize": 2.5, "linewidth": 1.4, "label": label}
                axes.errorbar(positions, means, yerr=interval_arms(estimates), **options)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(axis_label(metric))
        add_legend(figure, axes, styles, others)
        return render_figure(figure, name)


def estimates_over_time(metric: PrimaryMetric, curves: Curves, styles: Styles, *, others: str) -> RenderedFigure:
    """Draw means with bands of their intervals over the time since programming [s], one line per curve."""
    with figure_style():
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.subplots()
        draw_over_time(axes, metric, curves, styles)
        add_legend(figure, axes, styles, others)
        return render_figure(figure, "times")


def yields(
    metric: PrimaryMetric,
    estimates: Mapping[str, Estimate],
    styles: Styles,
    *,
    name: str,
    others: str,
    threshold: float | None = None,
) -> RenderedFigure:
    """Draw the share of chips that reach a value of the metric, one curve per estimate."""
    with figure_style():
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.subplots()
        draw_yields(axes, metric, estimates, styles, threshold=threshold)
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
    highlighted = sum(style.number is not None for style in styles.values())
    height = max(0.3 * highlighted, 0.42) * len(targets) if with_chips else 0.62 * len(targets)
    height += 0.9 if with_chips else 0.9 + 0.2 * highlighted
    with figure_style():
        figure = Figure(figsize=(6.4, height), layout="constrained")
        axes = figure.subplots()
        draw_by_target(axes, metric, targets, estimates, styles, with_chips=with_chips)
        if len(styles) > 1:
            add_legend(figure, axes, styles, others)
        return render_figure(figure, name)


def styles_by_mean(metric: PrimaryMetric, curves: Mapping[str, Sequence[Estimate]]) -> Styles:
    """Give each curve a style; of many, highlight those with the best average."""
    losses = {
        name: metric.loss_of(0.0, math.fsum(e.mean for e in estimates) / len(estimates)) if estimates else math.inf
        for name, estimates in curves.items()
    }
    return curve_styles(list(curves), sorted(losses, key=losses.__getitem__))
