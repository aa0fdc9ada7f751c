"""Figures of an evaluation's report, as SVG elements."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aimc_robust.devices.limits import time_text
from aimc_robust.report.evaluation.content import AttributionResult, EvaluationContent, LossPrediction, Rows
from aimc_robust.report.plot_style import COLORS, MARKERS, add_legend, figure_style, method_color, svg_element

MAX_LAYERS = 20  # bars that fit a figure; the table lists all layers
GRAY = "#4d4d4d"


def accuracy_over_time(content: EvaluationContent) -> str | None:
    """Draw the mean accuracy of each model on each device over time; None if no device has two times."""
    families = [family for family in content.families if len(family) > 1]
    if not families:
        return None
    labels = content.results.spec.labels
    times = sorted({target.time_s for family in families for target in family})
    curves = [(label, family) for label in labels for family in families]
    with figure_style():
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        axes = figure.subplots()
        for number, (label, family) in enumerate(curves):
            by_time = [(target.time_s, content.row(label, target.name)) for target in family]
            points = [(times.index(time_s), row) for time_s, row in by_time if row is not None]
            shift = 0.16 * (number / max(len(curves) - 1, 1) - 0.5)
            name = family[0].name if len(labels) == 1 else f"{label}, {family[0].name}"
            x, means = [index + shift for index, _ in points], [row["mean"] for _, row in points]
            arms = _ci_arms([row for _, row in points])
            options = _marker_options(number) | {"capsize": 2.5, "linewidth": 1.4, "label": name}
            axes.errorbar(x, means, yerr=arms, **options)
        axes.set_xticks(range(len(times)), [time_text(time_s) if time_s else "0" for time_s in times])
        axes.set_xlabel("time since programming")
        axes.set_ylabel("accuracy [%]")
        add_legend(figure, axes)
        return svg_element(figure, "times")


def chip_accuracies(content: EvaluationContent) -> str | None:
    """Draw the accuracy of every chip, with mean and interval, in a line per target; None without rows."""
    labels = content.results.spec.labels
    names = [t.name for t in content.targets if any((label, t.name) in content.estimates for label in labels)]
    if not names:
        return None
    with figure_style():
        figure = Figure(figsize=(6.4, 0.9 + 0.3 * len(names) * max(len(labels), 1.4)), layout="constrained")
        axes = figure.subplots()
        for number, label in enumerate(labels):
            offset = 0.7 * ((number + 0.5) / len(labels) - 0.5)
            legend_label: str | None = label
            color = method_color(number)
            for y, name in enumerate(names):
                estimate, row = content.estimates.get((label, name)), content.row(label, name)
                if estimate is None or row is None:
                    continue
                values = estimate.table["accuracy"]
                axes.plot(values, np.full(len(values), y + offset), "|", color=color, alpha=0.45, markersize=9)
                options = _marker_options(number) | {"capsize": 3, "label": legend_label, "linestyle": "none"}
                axes.errorbar(row["mean"], y + offset, xerr=_ci_arms([row]), **options)
                legend_label = None
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.45, -0.55)
        axes.set_xlabel("accuracy [%]")
        axes.grid(axis="y", visible=False)
        if len(labels) > 1:
            add_legend(figure, axes)
        return svg_element(figure, "chips")


def attribution(result: AttributionResult) -> str:
    """Draw the cost of each error source and layer alone as bars, and the accuracy regained without it as diamonds."""
    parts = [part for part in (result.sources, result.layers[:MAX_LAYERS]) if part]
    heights = [len(part) + 1.4 for part in parts]
    with figure_style():
        figure = Figure(figsize=(6.4, 0.7 + 0.3 * sum(heights)), layout="constrained")
        all_axes = figure.subplots(len(parts), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
        for axes, part in zip(all_axes, parts, strict=True):
            _cost_bars(axes, part)
        all_axes[-1].set_xlabel("points of accuracy")
        handles, names = all_axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper center", ncols=2)
        return svg_element(figure, f"attribution-{result.model}-{result.target}")


def _cost_bars(axes: Axes, rows: Rows) -> None:
    y = np.arange(len(rows))
    cost, saved = (np.array([row[key] for row in rows], dtype=float) for key in ("cost_alone", "saved"))
    axes.barh(y - 0.14, cost, height=0.5, color="#9ecae1", label="cost alone")
    options: dict[str, Any] = {"linestyle": "none", "capsize": 2.5, "elinewidth": 1.1}
    axes.errorbar(cost, y - 0.14, xerr=_half_widths(rows, "cost_alone"), color=COLORS[1], **options)
    options |= {"color": COLORS[2], "marker": "D", "markersize": 4, "label": "regained without it"}
    axes.errorbar(saved, y + 0.24, xerr=_half_widths(rows, "saved"), **options)
    axes.axvline(0.0, color=GRAY, linewidth=0.8)
    axes.set_yticks(y, [row["name"] for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)


def loss_prediction(prediction: LossPrediction) -> str:
    """Draw the loss over the error scale: Monte Carlo with its interval, and the prediction."""
    rows = sorted(prediction.rows, key=lambda row: row["scale"])
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
        axes.axhline(rows[0]["clean_loss"], color=GRAY, linestyle=":", linewidth=1.2, label="digital weights")
        axes.set_xlabel("error scale (1: the device's own errors)")
        axes.set_ylabel("loss [nats]")
        axes.legend(fontsize=9)
        return svg_element(figure, f"loss-prediction-{prediction.model}-{prediction.target}")


def _marker_options(number: int) -> dict[str, Any]:
    return {"color": method_color(number), "marker": MARKERS[number % len(MARKERS)], "markersize": 5}


def _ci_arms(rows: Rows) -> npt.NDArray[np.float64]:
    """Distances of the means from the lower and upper ends of their intervals, shape (2, rows); 0 without one."""
    ends = np.array([[row[key] - row["mean"] for row in rows] for key in ("ci_low", "ci_high")])
    return np.abs(np.nan_to_num(ends))


def _half_widths(rows: Rows, key: str) -> npt.NDArray[np.float64]:
    """Half-widths of the intervals KEY_low to KEY_high; 0 where nothing was random."""
    ends = np.array([[row[f"{key}_low"], row[f"{key}_high"]] for row in rows], dtype=float)
    return np.nan_to_num((ends[:, 1] - ends[:, 0]) / 2.0)
