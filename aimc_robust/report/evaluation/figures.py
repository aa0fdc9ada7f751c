"""Figures of an evaluation's report."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aimc_robust.devices.limits import time_text
from aimc_robust.report.evaluation.content import EvaluationContent
from aimc_robust.report.figures import estimates
from aimc_robust.report.metric_text import difference_label
from aimc_robust.report.plot_style import COLORS, RenderedFigure, figure_style, render_figure, wrap_name
from aimc_robust.statistics.primary_metric import PrimaryMetric

MAX_LAYERS = 20  # bars that fit a figure; the table lists all layers
DARK_GRAY = COLORS[0]


def over_time(content: EvaluationContent) -> RenderedFigure | None:
    """Draw the mean of each model on each device over time; None if no device has two times."""
    families = [family for family in content.families if len(family) > 1]
    if not families:
        return None
    labels = content.results.spec.labels
    times = sorted({target.time_s for family in families for target in family})
    pairs = [(label, family) for label in labels for family in families]
    curves = {}
    for number, (label, family) in enumerate(pairs):
        shift = 0.16 * (number / max(len(pairs) - 1, 1) - 0.5)
        curves[family[0].name if len(labels) == 1 else f"{label}, {family[0].name}"] = [
            (times.index(target.time_s) + shift, content.estimates[label, target.name])
            for target in family
            if (label, target.name) in content.estimates
        ]
    return estimates.estimates_over(
        content.metric,
        curves,
        estimates.styles_by_mean(content.metric, {name: [e for _, e in points] for name, points in curves.items()}),
        name="times",
        xlabel="time since programming",
        others="models and devices",
        ticks=[time_text(time_s) if time_s else "0" for time_s in times],
    )


def chips(content: EvaluationContent) -> RenderedFigure | None:
    """Draw the value of every chip, with mean and interval, in a line per target; None without rows."""
    labels, known, metric = content.results.spec.labels, content.estimates, content.metric
    targets = [t.name for t in content.targets if any((label, t.name) in known for label in labels)]
    if not targets:
        return None
    styles = estimates.styles_by_mean(
        metric, {label: [known[label, t] for t in targets if (label, t) in known] for label in labels}
    )
    options: dict[str, Any] = {"name": "chips", "others": "models", "with_chips": True}
    return estimates.estimates_by_target(metric, targets, known, styles, **options)


def attribution(metric: PrimaryMetric, sources: pd.DataFrame, layers: pd.DataFrame, name: str) -> RenderedFigure:
    """Draw the cost of each error source and layer alone as bars, and what is regained without it as diamonds."""
    parts = [part for part in (sources, layers[:MAX_LAYERS]) if len(part)]
    heights = [len(part) + 1.4 for part in parts]
    with figure_style():
        figure = Figure(figsize=(6.4, 0.7 + 0.3 * sum(heights)), layout="constrained")
        all_axes = figure.subplots(len(parts), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
        for axes, part in zip(all_axes, parts, strict=True):
            _cost_bars(axes, part)
        all_axes[-1].set_xlabel(difference_label(metric))
        handles, names = all_axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper center", ncols=2)
        return render_figure(figure, f"attribution-{name}")


def _cost_bars(axes: Axes, rows: pd.DataFrame) -> None:
    y = np.arange(len(rows))
    axes.barh(y - 0.14, rows["cost_alone"], height=0.5, color="#9ecae1", label="cost alone")
    options: dict[str, Any] = {"linestyle": "none", "capsize": 2.5, "elinewidth": 1.1}
    axes.errorbar(rows["cost_alone"], y - 0.14, xerr=_half_widths(rows, "cost_alone"), color=COLORS[1], **options)
    options |= {"color": COLORS[2], "marker": "D", "markersize": 4, "label": "regained without it"}
    axes.errorbar(rows["saved"], y + 0.24, xerr=_half_widths(rows, "saved"), **options)
    axes.axvline(0.0, color=DARK_GRAY, linewidth=0.8)
    axes.set_yticks(y, [wrap_name(name) for name in rows["name"]])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)


def _half_widths(rows: pd.DataFrame, key: str) -> pd.Series:
    """Half-widths of the intervals KEY_low to KEY_high; 0 where nothing was random."""
    return ((rows[f"{key}_high"] - rows[f"{key}_low"]).astype(float) / 2.0).fillna(0.0)


def loss_prediction(predictions: pd.DataFrame, name: str) -> RenderedFigure:
    """Draw the loss over the error scale: Monte Carlo with its interval, and the prediction."""
    columns = ["scale", "clean_loss", "mc_loss", "mc_high", "predicted", "predicted_se"]
    rows = predictions.sort_values("scale")[columns].astype(float)
    half, error = (rows["mc_high"] - rows["mc_loss"]).fillna(0.0), 1.96 * rows["predicted_se"].fillna(0.0)
    low, high = rows["predicted"] - error, rows["predicted"] + error
    options: dict[str, Any] = {"marker": "s", "markersize": 5, "capsize": 3, "linestyle": "none"}
    with figure_style():
        figure = Figure(figsize=(4.6, 3.2), layout="constrained")
        axes = figure.subplots()
        axes.errorbar(rows["scale"], rows["mc_loss"], yerr=half, color=COLORS[2], label="Monte Carlo", **options)
        options = {"marker": "o", "markersize": 4, "linewidth": 1.4}
        axes.plot(rows["scale"], rows["predicted"], color=COLORS[1], label="prediction", **options)
        axes.fill_between(rows["scale"], low, high, color=COLORS[1], alpha=0.2, linewidth=0)
        options = {"linestyle": ":", "linewidth": 1.2}
        axes.axhline(rows["clean_loss"].iat[0], color=DARK_GRAY, label="digital weights", **options)
        axes.set_xlabel("error scale (1: the device's own errors)")
        axes.set_ylabel("loss")
        axes.legend(fontsize=9)
        return render_figure(figure, f"loss-prediction-{name}")
