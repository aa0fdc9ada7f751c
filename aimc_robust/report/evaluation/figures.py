"""Figures of an evaluation's report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aimc_robust.evaluation.attribution import Attribution
from aimc_robust.plot.attribution_waterfall import waterfall
from aimc_robust.plot.labels import difference_label
from aimc_robust.plot.style import COLORS, figure_style, wrap_name
from aimc_robust.plot.yield_curve import MAX_BANDS
from aimc_robust.report.evaluation.content import EvaluationContent
from aimc_robust.report.figures import estimates
from aimc_robust.report.rendering import RenderedFigure, render_figure
from aimc_robust.statistics.estimate import Estimate
from aimc_robust.statistics.primary_metric import PrimaryMetric
from aimc_robust.targets.target import DeployableTarget

MAX_LAYERS = 20  # bars that fit a figure; the table lists all layers
DARK_GRAY = COLORS[0]


def over_time(content: EvaluationContent) -> RenderedFigure | None:
    """Draw the mean of each model on each device over time; None if no device has two times."""
    families = [family for family in content.families if len(family) > 1]
    if not families:
        return None
    curves = {
        name: [(target.time_s, known) for target in family if (known := content.estimates.get((label, target.name)))]
        for label, family, name in _curves(content, families)
    }
    styles = estimates.styles_by_mean(content.metric, {name: [e for _, e in points] for name, points in curves.items()})
    return estimates.estimates_over_time(content.metric, curves, styles, others="models and devices")


def yields(content: EvaluationContent) -> RenderedFigure | None:
    """Draw the yield of each model on each device or noise, at the last of its times; None without several chips."""
    found = _yield_estimates(content)
    if not found:
        return None
    styles = estimates.styles_by_mean(content.metric, {name: [estimate] for name, estimate in found.items()})
    options: dict[str, Any] = {"name": "yields", "others": "models and devices"}
    return estimates.yields(content.metric, found, styles, threshold=content.results.spec.threshold, **options)


def yields_caption(content: EvaluationContent) -> str:
    """Return the caption of `yields`, of what is drawn."""
    aged = ", at the last time of the device" if max(map(len, content.families)) > 1 else ""
    bands = " Bands are exact 95 % intervals." if len(_yield_estimates(content)) <= MAX_BANDS else ""
    curve = "each model and device that reach a value of the"
    return f"Share of the chips of {curve} {content.metric.title}{aged}.{bands}"


def _yield_estimates(content: EvaluationContent) -> dict[str, Estimate]:
    """Return curve -> estimate of the random ones, at the last time of each device."""
    return {
        name: known
        for label, family, name in _curves(content, [[family[-1]] for family in content.families])
        if (known := content.estimates.get((label, family[-1].name))) is not None
        and known.chips > 1
        and not known.is_digital
    }


def _curves(
    content: EvaluationContent, families: Sequence[Sequence[DeployableTarget]]
) -> list[tuple[str, Sequence[DeployableTarget], str]]:
    """Return (label, targets, name) of a curve for each model and device."""
    labels = content.results.spec.labels
    pairs = [(label, family) for label in labels for family in families]
    return [
        (label, family, family[0].name if len(labels) == 1 else f"{label}, {family[0].name}") for label, family in pairs
    ]


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


def attribution_waterfall(found: Attribution, name: str) -> RenderedFigure:
    """Draw how the costs of the error sources add up to the whole loss."""
    with figure_style():
        rows = int((found.table["kind"] == "source").sum())
        figure = Figure(figsize=(6.4, 0.9 + 0.34 * (rows + 2)), layout="constrained")
        waterfall(found, ax=figure.subplots())
        return render_figure(figure, f"waterfall-{name}")


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
