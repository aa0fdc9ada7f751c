"""Yield curves: the share of chips that reach an accuracy, or another metric."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from aimc_robust.devices.limits import time_text
from aimc_robust.errors import require_finite
from aimc_robust.plot.axes import drawing_axes
from aimc_robust.plot.estimate_plots import metric_of_all
from aimc_robust.plot.labels import axis_label
from aimc_robust.plot.style import COLORS, Styles, curve_styles
from aimc_robust.statistics.binomial import share_interval
from aimc_robust.statistics.estimate import Estimate
from aimc_robust.statistics.estimate_keys import require_timed
from aimc_robust.statistics.primary_metric import PrimaryMetric

FloatArray = npt.NDArray[np.float64]
MAX_BANDS = 4  # of more curves the bands would cover each other
MARGIN = 0.04  # beside the best and the worst chip, as a share of the axis


def yields(
    estimates: Mapping[str, Estimate] | Mapping[tuple[str, float], Estimate],
    ax: Axes | None = None,
    *,
    threshold: float | None = None,
    legend: bool = True,
) -> Axes:
    """Draw the share of chips that reach an accuracy, over that accuracy: one curve per estimate.

    Of up to four curves, a band is the exact 95 % interval of the share at each accuracy, as of `Estimate.yield_at`.
    Of a metric whose lower values are better, the curve is the share of chips that are at most as high.

    Args:
        estimates: Name -> estimate, or (name, time_s) -> estimate as `evaluate_grid` returns.
        ax: Axes to draw on; None: those of a new figure.
        threshold: An accuracy that is marked by a line.
        legend: Whether to add a legend, where there are several curves.

    Returns:
        The axes.

    Raises:
        InputError: if there are no estimates, they are of several metrics, or an argument is invalid.

    Example:
        >>> ar.plot.yields({"SGD": sgd, "RWP": rwp}, threshold=90.0)  # doctest: +SKIP
    """
    metric = metric_of_all(estimates)
    if threshold is not None:
        require_finite("threshold", threshold, low=-float("inf"))
    if times := [key for key in estimates if not isinstance(key, str)]:
        require_timed("yields", dict.fromkeys(times))
    named = {_name(key): estimate for key, estimate in estimates.items()}
    with drawing_axes(ax, (6.4, 4.0)) as axes:
        draw_yields(axes, metric, named, curve_styles(list(named), list(named)), threshold=threshold)
        if legend and len(named) > 1:
            axes.legend()
    return axes


def _name(key: str | tuple[str, float]) -> str:
    if isinstance(key, str):
        return key
    name, time_s = key
    return f"{name}, {time_text(time_s)}" if time_s else name


def draw_yields(
    axes: Axes,
    metric: PrimaryMetric,
    estimates: Mapping[str, Estimate],
    styles: Styles,
    *,
    threshold: float | None = None,
) -> None:
    """Draw one curve per estimate; bands only of few curves that are highlighted."""
    values = [np.concatenate(estimate.effects.rows) for estimate in estimates.values()]
    ends = [*(end for row in values for end in (row.min(), row.max())), *([] if threshold is None else [threshold])]
    margin = MARGIN * (max(ends) - min(ends)) or 1.0
    low, high = min(ends) - margin, max(ends) + margin
    shown = [label for label in estimates if styles[label].number is not None]
    step: Literal["pre", "post"] = "pre" if metric.is_higher_better else "post"
    for label, estimate in estimates.items():
        style = styles[label]
        at, shares = yield_steps(estimate, low, high)
        name = label if style.number is not None else None
        axes.plot(at, 100.0 * shares, drawstyle=f"steps-{step}", label=name, **style.line)
        if name is not None and len(shown) <= MAX_BANDS and estimate.chips > 1 and not estimate.is_digital:
            chips = min(map(len, estimate.effects.rows))
            intervals = {share: share_interval(share, chips) for share in set(shares.tolist())}
            bottom, top = (100.0 * np.array([intervals[share][end] for share in shares.tolist()]) for end in (0, 1))
            axes.fill_between(at, bottom, top, step=step, color=style.color, alpha=0.12, linewidth=0)
    if threshold is not None:
        axes.axvline(threshold, color=COLORS[0], linestyle=":", linewidth=1.2)
    axes.set_xlim(low, high)
    axes.set_ylim(-2.0, 102.0)
    axes.set_xlabel(axis_label(metric))
    axes.set_ylabel("chips that are at least as good [%]")


def yield_steps(estimate: Estimate, low: float, high: float) -> tuple[FloatArray, FloatArray]:
    """Return thresholds from `low` to `high` and the shares of chips (0 to 1) that are at least as good as each.

    Between two thresholds the share is that of the upper one, or of the lower one if lower values are better.
    """
    rows = estimate.effects.rows
    at = np.unique(np.concatenate([*rows, [low, high]]))
    passes = [estimate.metric.loss_of(at[:, None], row[None, :]) <= 0.0 for row in rows]
    return at, np.mean([part.mean(axis=1) for part in passes], axis=0)
