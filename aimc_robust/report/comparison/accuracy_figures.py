"""Figures of the accuracies of a comparison: by target, and by strength of Gaussian weight noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aimc_robust.report.comparison.content import ComparisonContent
from aimc_robust.report.plot_style import (
    MARKERS,
    RenderedFigure,
    add_legend,
    figure_style,
    method_color,
    render_figure,
)
from aimc_robust.statistics.accuracy_estimate import AccuracyEstimate

MAX_CAPPED_METHODS = 12  # more error bar caps would hide each other


def accuracy_by_target(content: ComparisonContent) -> RenderedFigure | None:
    """Draw mean and interval of each method on digital weights and on each device; None without rows of these."""
    devices = [target.name for target in content.targets.values() if target.backend != "noise"]
    targets = [name for name in devices if content.rankings[name]]
    labels = content.results.spec.labels
    if not targets:
        return None
    with figure_style():
        figure = Figure(figsize=(6.4, 0.9 + 0.62 * len(targets) + 0.2 * len(labels)), layout="constrained")
        axes = figure.subplots()
        for i, method in enumerate(labels):
            offset = 0.7 * (i / max(len(labels) - 1, 1) - 0.5)
            rows = [
                (y, content.estimates[method, t]) for y, t in enumerate(targets) if (method, t) in content.estimates
            ]
            positions = np.array([y + offset for y, _ in rows])
            _plot_intervals(axes, positions, [e for _, e in rows], number=i, label=method, value_axis="x")
        axes.set_yticks(range(len(targets)), targets)
        axes.set_ylim(len(targets) - 0.45, -0.55)
        axes.set_xlabel("accuracy [%]")
        axes.grid(axis="y", visible=False)
        for y in range(1, len(targets)):
            axes.axhline(y - 0.5, color="#d0d0d0", linewidth=0.8)
        add_legend(figure, axes)
        return render_figure(figure, "targets")


def estimates_by_sigma(content: ComparisonContent) -> dict[str, list[tuple[float, AccuracyEstimate]]]:
    """Return each method's accuracies under Gaussian noise of scale filter_max, with digital weights as sigma 0.

    Args:
        content: The content of the report.

    Returns:
        Method label -> (sigma, estimate), in ascending order of sigma.
    """
    targets = [target for target in content.targets.values() if target.split == "test"]
    sigmas = [(target.sigma, target.name) for target in targets if target.sigma is not None]
    return {
        method: [
            (sigma, content.estimates[method, name])
            for sigma, name in sorted(sigmas)
            if (method, name) in content.estimates
        ]
        for method in content.results.spec.labels
    }


def accuracy_by_sigma(content: ComparisonContent) -> RenderedFigure | None:
    """Draw accuracy over the sigma of Gaussian weight noise, one line per method; None with fewer than two sigmas."""
    curves = estimates_by_sigma(content)
    if len({sigma for points in curves.values() for sigma, _ in points}) < 2:
        return None
    with figure_style():
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        axes = figure.subplots()
        for i, (method, points) in enumerate(curves.items()):
            positions = np.array([sigma for sigma, _ in points])
            _plot_intervals(axes, positions, [e for _, e in points], number=i, label=method, value_axis="y")
        axes.set_xlabel("sigma of Gaussian weight noise (share of each filter's largest weight)")
        axes.set_ylabel("accuracy [%]")
        add_legend(figure, axes)
        return render_figure(figure, "sigma")


def _plot_intervals(
    axes: Axes,
    positions: npt.NDArray[np.float64],
    estimates: Sequence[AccuracyEstimate],
    *,
    number: int,
    label: str,
    value_axis: Literal["x", "y"],
) -> None:
    """Plot means with 95 % intervals; an estimate without an interval is a mean alone."""
    means = np.array([estimate.mean for estimate in estimates])
    arms = np.abs(np.nan_to_num(np.array([estimate.ci for estimate in estimates]).T - means))
    options: dict[str, Any] = {
        "color": method_color(number),
        "marker": MARKERS[number % len(MARKERS)],
        "markersize": 5,
        "capsize": 2.5 if number < MAX_CAPPED_METHODS else 0.0,
        "label": label,
        "elinewidth": 1.1,
    }
    if value_axis == "x":
        axes.errorbar(means, positions, xerr=arms, linestyle="none", **options)
    else:
        axes.errorbar(positions, means, yerr=arms, linewidth=1.4, **options)
