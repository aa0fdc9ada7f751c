"""A fit as a picture in a file: measurements against the card."""

import io
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from aimc_robust.devices.limits import time_text
from aimc_robust.fitting.bins import Bin
from aimc_robust.fitting.fit import Fit
from aimc_robust.fitting.laws import std_at
from aimc_robust.fitting.points import Points
from aimc_robust.fitting.predictive import latent, moments
from aimc_robust.fitting.programming import known_variance
from aimc_robust.io.atomic import atomic_write
from aimc_robust.report.figures.device_card import unit_label
from aimc_robust.report.plot_style import COLORS, STYLE

POINTS, MOST_DOTS, TARGETS = 200, 4000, 3
DATA, FITTED = COLORS[0], COLORS[1]
TIMES = 40


def save(fit: Fit, path: Path) -> None:
    """Write the picture whole; the suffix of `path` is the format."""
    buffer = io.BytesIO()
    figure = draw(fit)
    with mpl.rc_context(STYLE | {"legend.fontsize": 9}):
        figure.savefig(buffer, format=path.suffix.lower()[1:])
    atomic_write(path, buffer.getvalue())


def draw(fit: Fit) -> Figure:
    """Panels: measurements, the programming error's width, and read noise and drift where the card has them."""
    panels = [_measurements, _programming]
    if fit.read is not None:
        panels.append(_read)
    if fit.card.drift is not None:
        panels.append(_drift)
    columns = 2 if len(panels) == 4 else len(panels)
    rows = -(-len(panels) // columns)
    with mpl.rc_context(STYLE | {"legend.fontsize": 9}):
        figure = Figure(figsize=(4.8 * columns, 4.0 * rows), layout="constrained", dpi=150)
        figure.suptitle(f"{fit.card.name}: measurements and fit")
        parts = figure.subfigures(rows, columns, squeeze=False).flat
        for part, panel in zip(parts, panels, strict=True):
            panel(part, fit)
    return figure


def _measurements(part: SubFigure, fit: Fit) -> None:
    """Deviations from the target at the earliest time, and two standard deviations of the card."""
    axes, first = part.subplots(), fit.points.at(0)
    state = _states(first)
    shown = first.only(np.arange(len(first)) % -(-len(first) // MOST_DOTS) == 0)
    dots = {
        "linestyle": "none",
        "marker": "o",
        "markersize": 2,
        "alpha": 0.35,
        "markeredgewidth": 0,
        "rasterized": True,
    }
    axes.plot(shown.target, shown.state - shown.target, color=DATA, label="cells", **dots)
    two = 2.0 * std_at(fit.card.programming, state)
    if fit.read is not None:  # what a cell's mean over its reads still holds of read noise
        two = 2.0 * np.sqrt((two / 2.0) ** 2 + np.median(known_variance(first, fit.read)))
    axes.plot(state, two, color=FITTED, label="fit: 2 standard deviations")
    axes.plot(state, -two, color=FITTED)
    axes.set_title(f"states at {time_text(float(fit.points.times_s[0]))}")
    axes.set_xlabel(f"target {fit.card.state} [{unit_label(fit.card)}]")
    axes.set_ylabel(f"measured − target [{unit_label(fit.card)}]")
    axes.legend(loc="upper right", markerscale=2)


def _programming(part: SubFigure, fit: Fit) -> None:
    axes, state = part.subplots(), _states(fit.points.at(0))
    _curve(axes, fit, fit.goodness.bins, state, std_at(fit.card.programming, state))
    axes.set_title("programming error")
    axes.set_xlabel(f"target {fit.card.state} [{unit_label(fit.card)}]")


def _read(part: SubFigure, fit: Fit) -> None:
    axes, bins = part.subplots(), fit.goodness.read_bins
    state = np.linspace(min(b.target for b in bins), max(b.target for b in bins), POINTS)
    _curve(axes, fit, bins, state, std_at(fit.read.law, state))
    axes.set_title("read noise")
    axes.set_xlabel(f"present {fit.card.state} [{unit_label(fit.card)}]")


def _curve(axes: Axes, fit: Fit, bins: list[Bin], state: np.ndarray, std: np.ndarray) -> None:
    """Standard deviations of bins with their intervals, and the card's curve."""
    measured = np.array([b.measured for b in bins])
    error = [measured - [b.low for b in bins], [b.high for b in bins] - measured]
    look = {"linestyle": "none", "marker": "o", "markersize": 4, "capsize": 2}
    axes.errorbar([b.target for b in bins], measured, yerr=error, color=DATA, label="measured, 95 % interval", **look)
    axes.plot(state, std, color=FITTED, linewidth=1.8, label="fit")
    axes.set_ylabel(f"standard deviation [{unit_label(fit.card)}]")
    axes.set_ylim(bottom=0, top=1.25 * max(max(b.measured for b in bins), float(std.max())))
    axes.legend(loc="lower right")


def _drift(part: SubFigure, fit: Fit) -> None:
    """Mean deviation from the target over time with one standard deviation, an axis for each third of the targets."""
    times_s, points = fit.points.times_s, fit.points
    last = float(times_s[-1])
    zero, early = times_s[0] == 0, float(times_s[1] / 10.0)
    start = early if zero else float(times_s[0])
    smooth = np.concatenate([[0.0] if zero else [], np.geomspace(start, last, TIMES)])
    edges = np.quantile(points.at(0).target, np.linspace(0.0, 1.0, TARGETS + 1))
    all_axes = part.subplots(TARGETS, 1, sharex=True)
    for axes, i in zip(all_axes, reversed(range(TARGETS)), strict=True):
        cells = points.only((points.target >= edges[i]) & (points.target <= edges[i + 1]))
        rows = [(t, cells.at(g)) for g, t in enumerate(times_s) if (cells.group == g).any()]
        where = [t for t, _ in rows]
        mean = [float((row.state - row.target).mean()) for _, row in rows]
        std = [float((row.state - row.target).std()) for _, row in rows]
        look = {"linestyle": "none", "marker": "o", "markersize": 4, "capsize": 2}
        axes.errorbar(where, mean, yerr=std, color=DATA, label="measured: mean ± sd", **look)
        fitted = [_deviation(fit, rows[0][1], float(t)) for t in smooth]
        low, middle, high = (np.array([m + sign * s for m, s in fitted]) for sign in (-1.0, 0.0, 1.0))
        axes.plot(smooth, middle, color=FITTED, linewidth=1.8, label="fit")
        axes.fill_between(smooth, low, high, color=FITTED, alpha=0.18, linewidth=0)
        axes.set_title(f"target {edges[i]:.3g} to {edges[i + 1]:.3g}", fontsize=9, loc="right", pad=2)
    all_axes[0].set_title("drift", loc="left")
    if zero:  # a logarithm has no place for it
        all_axes[-1].set_xscale("symlog", linthresh=early, linscale=0.5)
        all_axes[-1].set_xlim(left=-0.1 * early)
    else:
        all_axes[-1].set_xscale("log")
    all_axes[-1].set_xlabel("time since programming [s]")
    part.supylabel(f"state − target [{unit_label(fit.card)}]", fontsize=10)
    part.legend(*all_axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)


def _deviation(fit: Fit, cells: Points, time_s: float) -> tuple[float, float]:
    """(mean, standard deviation) over `cells` of the card's state minus the target at `time_s` [s] as measured."""
    mean, std = moments(latent(fit.card, cells.target, max(time_s - fit.clock_s, 0.0)))
    known = known_variance(cells, fit.read)
    off = mean - cells.target
    return float(off.mean()), float(np.sqrt(np.mean(std**2 + known) + off.var()))


def _states(points: Points) -> np.ndarray:
    return np.linspace(points.target.min(), points.target.max(), POINTS)
