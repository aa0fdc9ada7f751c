"""The figures of an evaluation's report, as SVG text."""

from __future__ import annotations

import math

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aimc_robust.devices.limits import time_text
from aimc_robust.report.evaluation.content import AttributionResult, EvaluationContent, LossPrediction, Rows
from aimc_robust.report.plot_style import COLORS, MARKERS, STYLE, colour, legend, svg

LAYERS = 20  # bars that a figure has room for; the table holds all
GREY = "#4d4d4d"


def accuracy_over_time(content: EvaluationContent) -> str | None:
    """Mean accuracy of each model on each device at its times; None where nothing has two times."""
    ageing = [family for family in content.families if len(family) > 1]
    if not ageing:
        return None
    times = sorted({target.deployment.time_s for family in ageing for target in family})
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        axes = figure.subplots()
        curves = [(label, family) for label in content.results.spec.labels for family in ageing]
        for number, (label, family) in enumerate(curves):
            found = [(t.deployment.time_s, content.row(label, t.name)) for t in family]
            points = [(times.index(time_s), row) for time_s, row in found if row is not None]
            shift = 0.16 * (number / max(len(curves) - 1, 1) - 0.5)
            look = {"color": colour(number), "marker": MARKERS[number % len(MARKERS)], "markersize": 5, "capsize": 2.5}
            name = family[0].name if len(content.results.spec.labels) == 1 else f"{label}, {family[0].name}"
            places, means = [p + shift for p, _ in points], [row["mean"] for _, row in points]
            axes.errorbar(places, means, yerr=_half([row for _, row in points]), linewidth=1.4, label=name, **look)
        axes.set_xticks(range(len(times)), [time_text(t) if t else "0" for t in times])
        axes.set_xlabel("time since programming")
        axes.set_ylabel("accuracy [%]")
        legend(figure, axes)
        return svg(figure, "times")


def chips(content: EvaluationContent) -> str | None:
    """Every chip's accuracy, a row per target, with mean and interval."""
    labels = content.results.spec.labels
    names = [t.name for t in content.targets if any((label, t.name) in content.estimates for label in labels)]
    if not names:
        return None
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 0.9 + 0.3 * len(names) * max(len(labels), 1.4)), layout="constrained")
        axes = figure.subplots()
        for number, label in enumerate(labels):
            offset = 0.7 * ((number + 0.5) / len(labels) - 0.5)
            shown = label
            for y, name in enumerate(names):
                estimate, row = content.estimates.get((label, name)), content.row(label, name)
                if estimate is None or row is None:
                    continue
                values = estimate.table["accuracy"]
                axes.plot(values, np.full(len(values), y + offset), "|", color=colour(number), alpha=0.45, markersize=9)
                look = {
                    "color": colour(number),
                    "marker": MARKERS[number % len(MARKERS)],
                    "markersize": 5,
                    "capsize": 3,
                }
                axes.errorbar(row["mean"], y + offset, xerr=_half([row]), label=shown, linestyle="none", **look)
                shown = None
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.45, -0.55)
        axes.set_xlabel("accuracy [%]")
        axes.grid(axis="y", visible=False)
        if len(labels) > 1:
            legend(figure, axes)
        return svg(figure, "chips")


def attribution(found: AttributionResult) -> str:
    """Bars of what each source and each layer costs alone, with dots of what its absence saves."""
    parts = [part for part in (found.sources, found.layers[:LAYERS]) if part]
    heights = [len(part) + 1.4 for part in parts]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 0.7 + 0.3 * sum(heights)), layout="constrained")
        all_axes = figure.subplots(len(parts), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
        for axes, part in zip(all_axes, parts, strict=True):
            _bars(axes, part)
        all_axes[-1].set_xlabel("points of accuracy")
        handles, names = all_axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper center", ncols=2)
        return svg(figure, f"blame-{found.model}-{found.target}")


def _bars(axes: Axes, rows: Rows) -> None:
    places = np.arange(len(rows))
    cost, saved = (np.array([row[key] for row in rows], dtype=float) for key in ("cost_alone", "saved"))
    axes.barh(places - 0.14, cost, height=0.5, color="#9ecae1", label="cost of it alone")
    look = {"linestyle": "none", "capsize": 2.5, "elinewidth": 1.1}
    axes.errorbar(cost, places - 0.14, xerr=_span(rows, "cost_alone"), color=COLORS[1], **look)
    axes.errorbar(
        saved, places + 0.24, xerr=_span(rows, "saved"), color=COLORS[2], marker="D", markersize=4,
        label="saved when all but it is there", **look,
    )  # fmt: skip
    axes.axvline(0.0, color=GREY, linewidth=0.8)
    axes.set_yticks(places, [row["name"] for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)


def loss_prediction(found: LossPrediction) -> str:
    """Loss over the strength of the error: Monte Carlo with its interval, and the prediction."""
    rows = sorted(found.rows, key=lambda row: row["scale"])
    scales = np.array([row["scale"] for row in rows])
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.6, 3.2), layout="constrained")
        axes = figure.subplots()
        drawn = [row for row in rows if row["mc_loss"] is not None and not math.isnan(row["mc_loss"])]
        mean = np.array([row["mc_loss"] for row in drawn])
        half = np.nan_to_num(np.array([row["mc_high"] for row in drawn], dtype=float) - mean)
        axes.errorbar(
            [row["scale"] for row in drawn], mean, yerr=half, color=COLORS[2], marker="s", markersize=5, capsize=3,
            linestyle="none", label="Monte Carlo",
        )  # fmt: skip
        predicted = np.array([row["predicted"] for row in rows], dtype=float)
        error = 1.96 * np.nan_to_num(np.array([row["predicted_se"] for row in rows], dtype=float))
        axes.plot(scales, predicted, color=COLORS[1], marker="o", markersize=4, linewidth=1.4, label="second order")
        axes.fill_between(scales, predicted - error, predicted + error, color=COLORS[1], alpha=0.2, linewidth=0)
        axes.axhline(rows[0]["clean_loss"], color=GREY, linestyle=":", linewidth=1.2, label="digital weights")
        axes.set_xlabel("factor on the width of the error (1: as it is)")
        axes.set_ylabel("loss [nats]")
        axes.legend(fontsize=9)
        return svg(figure, f"forecast-{found.model}-{found.target}")


def _half(rows: Rows) -> np.ndarray:
    """Half-widths of the rows' intervals; 0 where there is none."""
    return np.nan_to_num(np.array([row["ci_high"] - row["mean"] for row in rows])).clip(min=0.0)


def _span(rows: Rows, key: str) -> np.ndarray:
    """Half-widths of a cost's interval; 0 where nothing was random."""
    ends = np.array([[row[f"{key}_low"], row[f"{key}_high"]] for row in rows], dtype=float)
    return np.nan_to_num((ends[:, 1] - ends[:, 0]) / 2.0)
