"""Fit a device card, and write the card and the figure of measurements and fitted laws."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from aimc_robust.devices.laws.base import Law
from aimc_robust.devices.limits import time_text
from aimc_robust.fitting.bins import Bin
from aimc_robust.fitting.fit import fit_card
from aimc_robust.fitting.fit_result import Fit, check_card_path
from aimc_robust.fitting.points import Points
from aimc_robust.fitting.read_noise import read_variance
from aimc_robust.fitting.state_distribution import state_distribution
from aimc_robust.fitting.std_laws import std_at
from aimc_robust.plot.labels import state_unit
from aimc_robust.plot.style import COLORS, figure_style
from aimc_robust.report.figures.device import check_figure_path, save_figure

CURVE_POINTS = 200
MAX_DOTS = 4000
DRIFT_TARGETS = 3
DRIFT_TIMES = 40
DATA_COLOR, FIT_COLOR = COLORS[0], COLORS[1]
POINT_OPTIONS: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 4, "capsize": 2}
FloatArray = npt.NDArray[np.float64]


def fit_and_write(
    measurements: Path, *, out: Path, plot: Path | None = None, force: bool = False, **options: Any
) -> Fit:
    """Fit a device card to a CSV file of measurements, and write the card, and a figure of the fit if `plot` is given.

    The paths are checked before the fit; `options` are further arguments of `fit_card`.

    Raises:
        InputError: If a path or another argument is invalid, or `out` exists and `force` is not set.
        DataError: If the measurements are missing or cannot support a fit.
    """
    check_card_path(out, force=force)
    if plot is not None:
        check_figure_path(plot)
    fit = fit_card(measurements, **options)
    if plot is not None:
        save_figure(draw_fit(fit), plot)
    fit.write(out, force=force)
    return fit


def draw_fit(fit: Fit) -> Figure:
    """Draw measurements, programming error, and read noise and drift if the card has them, in one panel each."""
    targets, bins = _target_grid(fit.points.at(0)), fit.goodness.read_bins
    programming = partial(
        _draw_std,
        title="programming error",
        of="target",
        bins=fit.goodness.bins,
        states=targets,
        law=fit.card.programming,
    )
    panels: list[Callable[[SubFigure, Fit], None]] = [_draw_measurements, programming]
    if fit.read_noise is not None:
        states = np.linspace(min(b.target for b in bins), max(b.target for b in bins), CURVE_POINTS)
        law = fit.read_noise.law
        panels.append(partial(_draw_std, title="read noise", of="present", bins=bins, states=states, law=law))
    if fit.card.drift is not None:
        panels.append(_draw_drift)
    columns = 2 if len(panels) == 4 else len(panels)
    rows = -(-len(panels) // columns)
    with figure_style(legend_fontsize=9):
        figure = Figure(figsize=(4.8 * columns, 4.0 * rows), layout="constrained", dpi=150)
        figure.suptitle(f"{fit.card.name}: measurements and fit")
        subfigures = figure.subfigures(rows, columns, squeeze=False).flat
        for subfigure, draw_panel in zip(subfigures, panels, strict=True):
            draw_panel(subfigure, fit)
    return figure


def _draw_measurements(subfigure: SubFigure, fit: Fit) -> None:
    """Deviations from the target at the earliest time, and +- two standard deviations of the card."""
    axes, first = subfigure.subplots(), fit.points.at(0)
    state = _target_grid(first)
    shown = first.only(np.arange(len(first)) % -(-len(first) // MAX_DOTS) == 0)
    dots: dict[str, Any] = {
        "linestyle": "none",
        "marker": "o",
        "markersize": 2,
        "alpha": 0.35,
        "markeredgewidth": 0,
        "rasterized": True,
    }
    axes.plot(shown.target, shown.state - shown.target, color=DATA_COLOR, label="cells", **dots)
    two_sd = 2.0 * std_at(fit.card.programming, state)
    if fit.read_noise is not None:  # the mean over a cell's reads still contains some read noise
        two_sd = 2.0 * np.sqrt((two_sd / 2.0) ** 2 + np.median(read_variance(first, fit.read_noise)))
    mean = state_distribution(fit.card, state, 0.0).center - state  # 0 but for an empirical law
    axes.plot(state, mean + two_sd, color=FIT_COLOR, label="fit: 2 standard deviations")
    axes.plot(state, mean - two_sd, color=FIT_COLOR)
    axes.set_title(f"states at {time_text(float(fit.points.times_s[0]))}")
    axes.set_xlabel(f"target {fit.card.state} [{state_unit(fit.card.unit)}]")
    axes.set_ylabel(f"measured − target [{state_unit(fit.card.unit)}]")
    axes.legend(loc="upper right", markerscale=2)


def _draw_std(
    subfigure: SubFigure, fit: Fit, *, title: str, of: str, bins: Sequence[Bin], states: FloatArray, law: Law
) -> None:
    """Standard deviations of bins with their intervals, and the curve of the card."""
    axes, std = subfigure.subplots(), std_at(law, states)
    measured = np.array([b.measured for b in bins])
    error = [measured - [b.low for b in bins], [b.high for b in bins] - measured]
    targets = [b.target for b in bins]
    axes.errorbar(targets, measured, yerr=error, color=DATA_COLOR, label="measured, 95 % interval", **POINT_OPTIONS)
    axes.plot(states, std, color=FIT_COLOR, linewidth=1.8, label="fit")
    axes.set_title(title)
    axes.set_xlabel(f"{of} {fit.card.state} [{state_unit(fit.card.unit)}]")
    axes.set_ylabel(f"standard deviation [{state_unit(fit.card.unit)}]")
    axes.set_ylim(bottom=0, top=1.25 * max(max(b.measured for b in bins), float(std.max())))
    axes.legend(loc="lower right")


def _draw_drift(subfigure: SubFigure, fit: Fit) -> None:
    """Mean deviation from the target over time +- one standard deviation, one axis per third of the targets."""
    times_s = fit.points.times_s
    last = float(times_s[-1])
    from_zero, early = times_s[0] == 0, float(times_s[1] / 10.0)
    start = early if from_zero else float(times_s[0])
    curve_times = np.concatenate([[0.0] if from_zero else [], np.geomspace(start, last, DRIFT_TIMES)])
    edges = np.quantile(fit.points.at(0).target, np.linspace(0.0, 1.0, DRIFT_TARGETS + 1))
    all_axes = subfigure.subplots(DRIFT_TARGETS, 1, sharex=True)
    for axes, i in zip(all_axes, reversed(range(DRIFT_TARGETS)), strict=True):
        _plot_drift(axes, fit, float(edges[i]), float(edges[i + 1]), curve_times)
    all_axes[0].set_title("drift", loc="left")
    if from_zero:  # a logarithmic axis cannot show time 0
        all_axes[-1].set_xscale("symlog", linthresh=early, linscale=0.5)
        all_axes[-1].set_xlim(left=-0.1 * early)
    else:
        all_axes[-1].set_xscale("log")
    all_axes[-1].set_xlabel("time since programming [s]")
    subfigure.supylabel(f"state − target [{state_unit(fit.card.unit)}]", fontsize=10)
    subfigure.legend(*all_axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)


def _plot_drift(axes: Axes, fit: Fit, low: float, high: float, curve_times: FloatArray) -> None:
    """Measured and fitted drift of the cells with targets from `low` to `high`."""
    points = fit.points
    cells = points.only((points.target >= low) & (points.target <= high))
    rows = [(t, cells.at(g)) for g, t in enumerate(points.times_s) if (cells.group == g).any()]
    times = [t for t, _ in rows]
    mean = [float((row.state - row.target).mean()) for _, row in rows]
    std = [float((row.state - row.target).std()) for _, row in rows]
    axes.errorbar(times, mean, yerr=std, color=DATA_COLOR, label="measured: mean ± sd", **POINT_OPTIONS)
    fitted = [_fitted_deviation(fit, rows[0][1], float(t)) for t in curve_times]
    lower, middle, upper = (np.array([m + sign * s for m, s in fitted]) for sign in (-1.0, 0.0, 1.0))
    axes.plot(curve_times, middle, color=FIT_COLOR, linewidth=1.8, label="fit")
    axes.fill_between(curve_times, lower, upper, color=FIT_COLOR, alpha=0.18, linewidth=0)
    axes.set_title(f"target {low:.3g} to {high:.3g}", fontsize=9, loc="right", pad=2)


def _fitted_deviation(fit: Fit, cells: Points, time_s: float) -> tuple[float, float]:
    """(mean, standard deviation) over `cells` of the card's state minus the target at `time_s` [s] as measured."""
    mean, std = state_distribution(fit.card, cells.target, max(time_s - fit.time_zero_s, 0.0)).moments()
    known = read_variance(cells, fit.read_noise)
    deviation = mean - cells.target
    return float(deviation.mean()), float(np.sqrt(np.mean(std**2 + known) + deviation.var()))


def _target_grid(points: Points) -> FloatArray:
    return np.linspace(points.target.min(), points.target.max(), CURVE_POINTS)
