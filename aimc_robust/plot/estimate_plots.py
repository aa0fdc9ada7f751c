"""Estimates with their 95 % intervals: by target with every chip, and over the time since programming."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from aimc_robust.errors import InputError, require_known, short_repr
from aimc_robust.plot.axes import drawing_axes, format_time_axis
from aimc_robust.plot.labels import axis_label
from aimc_robust.plot.style import GRAY, Styles, curve_styles, wrap_name
from aimc_robust.statistics.estimate import Estimate
from aimc_robust.statistics.estimate_keys import require_estimates, require_timed
from aimc_robust.statistics.primary_metric import PrimaryMetric

Curves = Mapping[str, Sequence[tuple[float, Estimate]]]
"""Label of a method, model or device -> (position, estimate) of its points."""

Band = Literal["interval", "chips"]
"""What a band shows: the 95 % interval of the mean, or the middle 90 % of the chips."""


def over_time(
    estimates: Mapping[tuple[str, float], Estimate],
    ax: Axes | None = None,
    *,
    band: Band = "interval",
    legend: bool = True,
) -> Axes:
    """Draw the accuracy, or another metric, over the time since programming: a line of means, and a band.

    Args:
        estimates: (name, time_s) -> estimate: what `evaluate_grid` returns, or a mapping of such keys, for example
            with the names of training methods.
        ax: Axes to draw on; None: those of a new figure.
        band: `interval`: the 95 % interval of the mean. `chips`: from the 5 % to the 95 % quantile of the chips.
        legend: Whether to add a legend, where there are several names.

    Returns:
        The axes.

    Raises:
        InputError: if there are no estimates, they are of several metrics, or an argument is invalid.

    Example:
        >>> grid = ar.evaluate_grid(model, data, {"RRAM": rram, "PCM": pcm}, time_s=[0, 3600, 86400])  # doctest: +SKIP
        >>> ar.plot.over_time(grid)  # doctest: +SKIP
    """
    require_known("band", band, ("interval", "chips"))
    metric = metric_of_all(estimates)
    require_timed("over_time", estimates)
    names = list(dict.fromkeys(name for name, _ in estimates))
    curves = {name: sorted((t, e) for (n, t), e in estimates.items() if n == name) for name in names}
    with drawing_axes(ax, (6.4, 4.0)) as axes:
        draw_over_time(axes, metric, curves, curve_styles(names, names), band=band)
        if legend and len(names) > 1:
            axes.legend()
    return axes


def estimates(estimates: Mapping[str, Estimate], ax: Axes | None = None) -> Axes:
    """Draw several estimates below each other: every chip as a stroke, the mean, and its 95 % interval.

    Args:
        estimates: Name of a device, model or method -> its estimate.
        ax: Axes to draw on; None: those of a new figure.

    Returns:
        The axes.

    Raises:
        InputError: if there are no estimates, or they are of several metrics.

    Example:
        >>> ar.plot.estimates({"SGD": sgd, "RWP": rwp})  # doctest: +SKIP
    """
    metric, names = metric_of_all(estimates), list(estimates)
    if wrong := [name for name in names if not isinstance(name, str)]:
        raise InputError(f"estimates must have names as keys, got {short_repr(wrong[0])}; for times use over_time.")
    by_target = {("", name): estimate for name, estimate in estimates.items()}
    with drawing_axes(ax, (6.4, 0.9 + 0.42 * len(names))) as axes:
        draw_by_target(axes, metric, names, by_target, curve_styles([""], [""]), with_chips=True)
    return axes


def metric_of_all(estimates: Mapping[Any, Estimate]) -> PrimaryMetric:
    """Return the metric of estimates; raise `InputError` if there are none, or several metrics."""
    require_estimates(estimates)
    if not estimates:
        raise InputError("expected a mapping of names to Estimates, not empty, got none.")
    metrics = list(dict.fromkeys(estimate.metric for estimate in estimates.values()))
    if len(metrics) > 1:
        raise InputError(f"the estimates are of {metrics[0].name} and {metrics[1].name}; draw one metric at a time.")
    return metrics[0]


def draw_over_time(
    axes: Axes, metric: PrimaryMetric, curves: Curves, styles: Styles, *, band: Band = "interval"
) -> None:
    """Draw means over the time [s], one line per curve; those that are not highlighted have no band."""
    for label, points in curves.items():
        style, times, shown = styles[label], [t for t, _ in points], [e for _, e in points]
        means = [estimate.mean for estimate in shown]
        if style.number is None:
            axes.plot(times, means, **style.line)
            continue
        axes.plot(times, means, label=label, **style.line | {"marker": style.points["marker"], "markersize": 4.5})
        low, high = _ends(shown, band)
        axes.fill_between(times, low, high, color=style.color, alpha=0.16, linewidth=0)
    axes.set_ylabel(axis_label(metric))
    format_time_axis(axes, [time_s for points in curves.values() for time_s, _ in points])


def _ends(estimates: Sequence[Estimate], band: Band) -> tuple[list[float], list[float]]:
    """Return the lower and upper ends of the bands; the mean where there is no interval."""
    if band == "chips":
        return [e.quantile(0.05) for e in estimates], [e.quantile(0.95) for e in estimates]
    ends = [(e.mean, e.mean) if math.isnan(e.ci[0]) else e.ci for e in estimates]
    return [low for low, _ in ends], [high for _, high in ends]


def draw_by_target(
    axes: Axes,
    metric: PrimaryMetric,
    targets: Sequence[str],
    estimates: Mapping[tuple[str, str], Estimate],
    styles: Styles,
    *,
    with_chips: bool,
) -> None:
    """Draw means with intervals of (label, target), a line per target; `with_chips` adds a stroke for every chip."""
    highlighted = [label for label, style in styles.items() if style.number is not None]
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


def interval_arms(estimates: Iterable[Estimate]) -> npt.NDArray[np.float64]:
    """Distances of the means from the ends of their intervals, shape (2, estimates); 0 without an interval."""
    arms = np.array([(e.mean - e.ci[0], e.ci[1] - e.mean) for e in estimates]).reshape(-1, 2).T
    return np.abs(np.nan_to_num(arms))
