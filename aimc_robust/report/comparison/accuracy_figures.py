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
    GRAY,
    CurveStyle,
    RenderedFigure,
    add_legend,
    figure_style,
    others_label,
    render_figure,
    wrap_name,
)
from aimc_robust.statistics.accuracy_estimate import AccuracyEstimate


def accuracy_by_target(content: ComparisonContent) -> RenderedFigure | None:
    """Draw mean and interval of each method on digital weights and on each device; None without rows of these."""
    devices = [target.name for target in content.targets.values() if target.backend != "noise"]
    targets = [name for name in devices if content.rankings[name]]
    highlighted = [method for method, style in content.styles.items() if style.number is not None]
    if not targets:
        return None
    with figure_style():
        figure = Figure(figsize=(6.4, 0.9 + 0.62 * len(targets) + 0.2 * len(highlighted)), layout="constrained")
        axes = figure.subplots()
        for method, style in content.styles.items():
            rows = [
                (y, content.estimates[method, t]) for y, t in enumerate(targets) if (method, t) in content.estimates
            ]
            if style.number is None:
                axes.plot([e.mean for _, e in rows], [y for y, _ in rows], "|", color=GRAY, markersize=14, zorder=1.5)
                continue
            offset = 0.7 * (style.number / max(len(highlighted) - 1, 1) - 0.5)
            positions = np.array([y + offset for y, _ in rows])
            _plot_intervals(axes, positions, [e for _, e in rows], style, label=method, value_axis="x")
        axes.set_yticks(range(len(targets)), [wrap_name(name) for name in targets])
        axes.set_ylim(len(targets) - 0.45, -0.55)
        axes.set_xlabel("accuracy [%]")
        axes.grid(axis="y", visible=False)
        for y in range(1, len(targets)):
            axes.axhline(y - 0.5, color="#d0d0d0", linewidth=0.8)
        add_legend(figure, axes, others_label(content.styles, "methods"))
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
        for method, points in curves.items():
            style, positions = content.styles[method], np.array([sigma for sigma, _ in points])
            if style.number is None:
                axes.plot(positions, [e.mean for _, e in points], **style.line)
            else:
                _plot_intervals(axes, positions, [e for _, e in points], style, label=method, value_axis="y")
        axes.set_xlabel("sigma of Gaussian weight noise (share of each filter's largest weight)")
        axes.set_ylabel("accuracy [%]")
        add_legend(figure, axes, others_label(content.styles, "methods"))
        return render_figure(figure, "sigma")


def _plot_intervals(
    axes: Axes,
    positions: npt.NDArray[np.float64],
    estimates: Sequence[AccuracyEstimate],
    style: CurveStyle,
    *,
    label: str,
    value_axis: Literal["x", "y"],
) -> None:
    """Plot means with 95 % intervals; an estimate without an interval is a mean alone."""
    means = np.array([estimate.mean for estimate in estimates])
    arms = np.abs(np.nan_to_num(np.array([estimate.ci for estimate in estimates]).T - means))
    options: dict[str, Any] = style.points | {"capsize": 2.5, "label": label}
    if value_axis == "x":
        axes.errorbar(means, positions, xerr=arms, linestyle="none", **options)
    else:
        axes.errorbar(positions, means, yerr=arms, linewidth=1.4, **options)
