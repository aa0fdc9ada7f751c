"""Section of a recommendation: which layers to keep digital, with the curve of the metric over their share."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure as MatplotlibFigure

from aimc_robust.errors import join_names
from aimc_robust.evaluation.keep_digital import NO_PROPOSAL
from aimc_robust.experiments.recommend.places import Places, with_digital
from aimc_robust.experiments.recommend.run import Recommendation
from aimc_robust.io.toml import inline_toml
from aimc_robust.plot.labels import axis_label, unit_in_brackets
from aimc_robust.plot.style import COLORS, GRAY, figure_style
from aimc_robust.report.formatting import format_number, format_significant
from aimc_robust.report.metric_text import format_value, heading, interval_text, threshold_text, value_text
from aimc_robust.report.page_model import Block, Code, Figure, Prose, Section, Table
from aimc_robust.report.rendering import RenderedFigure, render_figure
from aimc_robust.statistics.primary_metric import PrimaryMetric

SHARES = {"weights_percent": "weights kept digital [%]", "multiplies_percent": "multiplies kept digital [%]"}


def digital_layers(recommendation: Recommendation) -> Section | None:
    """Show the proposed layers, the sets that were measured, and the ranking of layers."""
    kept, metric = recommendation.digital_layers, recommendation.task.primary
    if kept is None:
        return None
    curve = [
        [
            ("layers\ndigital", str(row["kept"])),
            ("weights digital", f"{row['weights_percent']:.1f} %"),
            ("multiplies digital", f"{row['multiplies_percent']:.1f} %"),
            (
                f"mean{unit_in_brackets(metric.unit)}\n95 % interval",
                f"{format_value(metric, row['mean'])}\n{interval_text(metric, row['ci_low'], row['ci_high'])}",
            ),
            ("sd_noise", format_value(metric, row["sd_noise"])),
        ]
        for row in kept["curve"]
    ]
    is_measured = kept["ranking"][0]["cost_low"] is not None
    ranking = [
        [
            ("rank", str(rank)),
            ("layer", row["layer"]),
            ("weights", f"{row['weights']:,}"),
            ("multiplies", f"{row['multiplies']:,}"),
            (f"cost\nof the layer alone{', 95 % interval' if is_measured else ''}", _cost(row)),
            ("cost per\nmillion weights", format_significant(1e6 * row["cost"] / row["weights"])),
        ]
        for rank, row in enumerate(kept["ranking"], start=1)
    ]
    own = join_names(recommendation.digital_by_choice)
    note = (
        "Sets are the first layers of a ranking by the loss that the errors of a layer alone cost, per weight. Shares "
        f"are of the layers that {'the target leaves to crossbars' if own else 'crossbars could hold'}. "
        "Proposed is the smallest set whose interval over the chips 0 to "
        f"{kept['confirmation']['chips'] - 1}, on validation data, reaches the required value as a whole; it was then "
        "measured once more, on other chips. confirmed: that interval reaches it as a whole. "
        "refuted: no part of it does."
    )
    if kept["judgement"] == NO_PROPOSAL:
        note += " More chips: `ar.keep_digital(..., chips=100)`."
    if is_measured:
        note += " Layers whose costs have overlapping intervals could also be in the other order."
    figure = Figure(partial(curve_figure, metric, kept), f"{heading(metric)} over the share that is kept digital")
    blocks = [
        kept["sentence"],
        f"Digital by your choice, in every set below: {own}." if own else None,
        *spec_lines(kept, recommendation.places),
        figure,
        Table("Sets of digital layers", curve),
        Section("Ranking of layers", [Table("Ranking of layers", ranking)], folded=True),
        Prose(note),
    ]
    return Section("Layers to keep digital", blocks)


def _cost(row: dict[str, Any]) -> str:
    low, high = (format_significant(row[key]) for key in ("cost_low", "cost_high"))
    return format_significant(row["cost"]) + (f"\n[{low}, {high}]" if row["cost_low"] is not None else "")


def spec_lines(kept: dict[str, Any], places: Places) -> list[Block]:
    """Say how to keep the proposed layers digital, with all other layers where the target has them."""
    if not kept["layers"] or kept["judgement"] == NO_PROPOSAL:
        return []
    layers = with_digital(places, kept["layers"], [row["layer"] for row in kept["ranking"]])
    how = "As a key of the device's table in a spec; commands take each as `--layer NAME=digital`:"
    if places:
        how = "With the layers that the target places itself, as a key of the device's table in a spec; commands take "
        how += "each as `--layer PATTERN=PLACE`, in this order:"
    return [Prose(how), Code(f"layers = {inline_toml(dict(layers))}")]


def curve_figure(metric: PrimaryMetric, kept: dict[str, Any]) -> RenderedFigure:
    """Draw the metric, with its interval, over the shares of weights and of multiplies that are kept digital."""
    rows = kept["curve"]
    means = np.array([row["mean"] for row in rows])
    arms = np.abs(np.array([[row["ci_low"], row["ci_high"]] for row in rows], dtype=float).T - means)
    with figure_style():
        figure = MatplotlibFigure(figsize=(6.4, 3.2), layout="constrained")
        for axes, (key, label) in zip(figure.subplots(1, 2, sharey=True), SHARES.items(), strict=True):
            shares = [row[key] for row in rows]
            axes.errorbar(shares, means, yerr=np.nan_to_num(arms), color=COLORS[0], marker="o", markersize=4, capsize=2)
            for chosen in _proposed(kept):
                axes.plot(chosen[key], chosen["mean"], "o", markersize=10, fillstyle="none", color=COLORS[1])
            axes.axhline(kept["required"], color=GRAY, linewidth=0.8, linestyle="--")
            axes.set_xscale("symlog", linthresh=1.0)
            axes.set_xlim(-0.1, 110.0)
            axes.set_xticks([0, 1, 10, 100], ["0", "1", "10", "100"])
            axes.set_xlabel(label)
        figure.axes[0].set_ylabel(axis_label(metric))
        figure.axes[0].set_title(f"dashed: required {threshold_text(metric, kept['required'])}", fontsize=9, loc="left")
        if _proposed(kept):
            figure.axes[1].set_title("ring: proposed", fontsize=9, loc="left")
        return render_figure(figure, "digital_layers")


def proposal_line(recommendation: Recommendation) -> str | None:
    """Return one line for the head of the page; None if it was not asked for."""
    kept, metric = recommendation.digital_layers, recommendation.task.primary
    if kept is None:
        return None
    if not _proposed(kept):
        return kept["sentence"]
    (chosen,) = _proposed(kept)
    share, count = format_number(chosen["weights_percent"], 1), len(kept["layers"])
    required = value_text(metric, kept["required"])
    return f"Layers to keep digital for {required}: {count}, with {share} % of the weights ({kept['judgement']})."


def _proposed(kept: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the row of the curve that is proposed, if any is."""
    is_proposed = kept["judgement"] != NO_PROPOSAL
    return [row for row in kept["curve"] if is_proposed and row["kept"] == len(kept["layers"])]
