"""Figures of an evaluation's report."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aimc_robust.devices.limits import time_text
from aimc_robust.report.evaluation.content import EvaluationContent, Rows
from aimc_robust.report.figures import accuracy
from aimc_robust.report.plot_style import COLORS, RenderedFigure, figure_style, render_figure, wrap_name

MAX_LAYERS = 20  # bars that fit a figure; the table lists all layers
DARK_GRAY = COLORS[0]


def accuracy_over_time(content: EvaluationContent) -> RenderedFigure | None:
    """Draw the mean accuracy of each model on each device over time; None if no device has two times."""
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
    return accuracy.accuracy_over(
        curves,
        accuracy.styles_by_mean({name: [e for _, e in points] for name, points in curves.items()}),
        name="times",
        xlabel="time since programming",
        others="models and devices",
        ticks=[time_text(time_s) if time_s else "0" for time_s in times],
    )


def chip_accuracies(content: EvaluationContent) -> RenderedFigure | None:
    """Draw the accuracy of every chip, with mean and interval, in a line per target; None without rows."""
    labels, estimates = content.results.spec.labels, content.estimates
    targets = [t.name for t in content.targets if any((label, t.name) in estimates for label in labels)]
    if not targets:
        return None
    styles = accuracy.styles_by_mean(
        {label: [estimates[label, t] for t in targets if (label, t) in estimates] for label in labels}
    )
    return accuracy.accuracy_by_target(targets, estimates, styles, name="chips", others="models", with_chips=True)


def attribution(sources: Rows, layers: Rows, name: str) -> RenderedFigure:
    """Draw the cost of each error source and layer alone as bars, and the accuracy regained without it as diamonds."""
    parts = [part for part in (sources, layers[:MAX_LAYERS]) if part]
    heights = [len(part) + 1.4 for part in parts]
    with figure_style():
        figure = Figure(figsize=(6.4, 0.7 + 0.3 * sum(heights)), layout="constrained")
        all_axes = figure.subplots(len(parts), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
        for axes, part in zip(all_axes, parts, strict=True):
            _cost_bars(axes, part)
        all_axes[-1].set_xlabel("points of accuracy")
        handles, names = all_axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper center", ncols=2)
        return render_figure(figure, f"attribution-{name}")


def _cost_bars(axes: Axes, rows: Rows) -> None:
    y = np.arange(len(rows))
    cost, saved = (np.array([row[key] for row in rows], dtype=float) for key in ("cost_alone", "saved"))
    axes.barh(y - 0.14, cost, height=0.5, color="#9ecae1", label="cost alone")
    options: dict[str, Any] = {"linestyle": "none", "capsize": 2.5, "elinewidth": 1.1}
    axes.errorbar(cost, y - 0.14, xerr=_half_widths(rows, "cost_alone"), color=COLORS[1], **options)
    options |= {"color": COLORS[2], "marker": "D", "markersize": 4, "label": "regained without it"}
    axes.errorbar(saved, y + 0.24, xerr=_half_widths(rows, "saved"), **options)
    axes.axvline(0.0, color=DARK_GRAY, linewidth=0.8)
    axes.set_yticks(y, [wrap_name(row["name"]) for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)


def loss_prediction(predictions: Rows, name: str) -> RenderedFigure:
    """Draw the loss over the error scale: Monte Carlo with its interval, and the prediction."""
    rows = sorted(predictions, key=lambda row: row["scale"])
    scales = np.array([row["scale"] for row in rows])
    with figure_style():
        figure = Figure(figsize=(4.6, 3.2), layout="constrained")
        axes = figure.subplots()
        finite = [row for row in rows if row["mc_loss"] is not None and not math.isnan(row["mc_loss"])]
        mean = np.array([row["mc_loss"] for row in finite])
        half = np.nan_to_num(np.array([row["mc_high"] for row in finite], dtype=float) - mean)
        axes.errorbar(
            [row["scale"] for row in finite], mean, yerr=half, color=COLORS[2], marker="s", markersize=5, capsize=3,
            linestyle="none", label="Monte Carlo",
        )  # fmt: skip
        predicted = np.array([row["predicted"] for row in rows], dtype=float)
        error = 1.96 * np.nan_to_num(np.array([row["predicted_se"] for row in rows], dtype=float))
        axes.plot(scales, predicted, color=COLORS[1], marker="o", markersize=4, linewidth=1.4, label="second order")
        axes.fill_between(scales, predicted - error, predicted + error, color=COLORS[1], alpha=0.2, linewidth=0)
        axes.axhline(rows[0]["clean_loss"], color=DARK_GRAY, linestyle=":", linewidth=1.2, label="digital weights")
        axes.set_xlabel("error scale (1: the device's own errors)")
        axes.set_ylabel("loss [nats]")
        axes.legend(fontsize=9)
        return render_figure(figure, f"loss-prediction-{name}")


def _half_widths(rows: Rows, key: str) -> npt.NDArray[np.float64]:
    """Half-widths of the intervals KEY_low to KEY_high; 0 where nothing was random."""
    ends = np.array([[row[f"{key}_low"], row[f"{key}_high"]] for row in rows], dtype=float)
    return np.nan_to_num((ends[:, 1] - ends[:, 0]) / 2.0)
