"""The report's figures: they open offline, print sharply and are the same bytes for the same rows."""

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aimc_robust.report.comparison.content import Content
from aimc_robust.report.plot_style import MARKERS, STYLE, RenderedFigure, colour, drawing, legend
from aimc_robust.statistics.accuracy_estimate import AccuracyEstimate

CAPPED = 12  # methods whose intervals end in a cap; with more of them the caps hide each other


def accuracy_by_target(content: Content) -> RenderedFigure | None:
    """A dot and interval per method for digital weights and each device."""
    exact = [t.name for t in content.targets.values() if t.backend != "noise"]
    targets = [name for name in exact if content.rankings[name]]
    labels = content.store.spec.labels
    if not targets:
        return None
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 0.9 + 0.62 * len(targets) + 0.2 * len(labels)), layout="constrained")
        axes = figure.subplots()
        for i, method in enumerate(labels):
            offset = 0.7 * (i / max(len(labels) - 1, 1) - 0.5)
            rows = [
                (y, content.estimates[method, t]) for y, t in enumerate(targets) if (method, t) in content.estimates
            ]
            means = np.array([e.mean for _, e in rows])
            _intervals(axes, means, [e.ci for _, e in rows], np.array([y + offset for y, _ in rows]), i, method, "x")
        axes.set_yticks(range(len(targets)), targets)
        axes.set_ylim(len(targets) - 0.45, -0.55)
        axes.set_xlabel("accuracy [%]")
        axes.grid(axis="y", visible=False)
        for y in range(1, len(targets)):
            axes.axhline(y - 0.5, color="#d0d0d0", linewidth=0.8)
        legend(figure, axes)
        return drawing(figure, "targets")


def estimates_by_sigma(content: Content) -> dict[str, list[tuple[float, AccuracyEstimate]]]:
    """Method -> (sigma, estimate), by rising sigma, for digital and Gaussian noise of scale filter_max."""
    strengths = [(t.sigma, t.name) for t in content.targets.values() if t.sigma is not None]
    return {
        method: [
            (s, content.estimates[method, name]) for s, name in sorted(strengths) if (method, name) in content.estimates
        ]
        for method in content.store.spec.labels
    }


def accuracy_by_sigma(content: Content) -> RenderedFigure | None:
    """Accuracy over the strength of Gaussian weight noise, a line per method; None with fewer than two strengths."""
    lines = estimates_by_sigma(content)
    if len({sigma for points in lines.values() for sigma, _ in points}) < 2:
        return None
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        axes = figure.subplots()
        for i, (method, points) in enumerate(lines.items()):
            means = np.array([e.mean for _, e in points])
            _intervals(axes, means, [e.ci for _, e in points], np.array([s for s, _ in points]), i, method, "y")
        axes.set_xlabel("sigma of Gaussian weight noise (share of each filter's largest weight)")
        axes.set_ylabel("accuracy [%]")
        legend(figure, axes)
        return drawing(figure, "sigma")


def _intervals(
    axes: Axes, means: np.ndarray, intervals: list, places: np.ndarray, number: int, label: str, along: str
) -> None:
    """Means with their 95 % intervals; where there is none (nothing repeated), the mean alone."""
    half = np.nan_to_num(np.array([high - mean for (_, high), mean in zip(intervals, means, strict=True)]))
    half = half.clip(min=0.0)  # equal values differ from their mean by rounding
    look = {"color": colour(number), "marker": MARKERS[number % len(MARKERS)], "markersize": 5}
    look |= {"capsize": 2.5 if number < CAPPED else 0.0}
    look |= {"label": label, "elinewidth": 1.1}
    if along == "x":
        axes.errorbar(means, places, xerr=half, linestyle="none", **look)
    else:
        axes.errorbar(places, means, yerr=half, linewidth=1.4, **look)
