"""Sections of an evaluation's page that explain its losses: error attribution, and prediction without Monte Carlo."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import pandas as pd

from aimc_robust.evaluation.attribution import Attribution
from aimc_robust.evaluation.error_sources import SOURCES
from aimc_robust.plot.labels import unit_in_brackets
from aimc_robust.report.evaluation import figures
from aimc_robust.report.evaluation.content import EvaluationContent, Rows
from aimc_robust.report.formatting import MISSING, format_number
from aimc_robust.report.metric_text import difference_text, format_value, interval_text, value_text
from aimc_robust.report.page_model import Block, Figure, Grid, Prose, Section, Table
from aimc_robust.statistics.primary_metric import PrimaryMetric

Key = tuple[str, int, str]
"""(model, train_seed, target)"""
VERDICTS = (
    "**holds**: the predicted rise of the loss is within 10 % of the simulated rise, with 95 % confidence. **does not "
    "hold**: it is farther away, with that confidence, so the predicted loss is wrong there. **cannot tell**: the "
    "intervals of both are too wide for either; four times as many chips and probes halve them."
)


def attribution(content: EvaluationContent) -> Section | None:
    """Show which error sources and layers cost how much."""
    parts: list[Block | None] = [_attribution(content.metric, *group) for group in _groups(content, "attribution")]
    return Section("Error attribution", [_whose(content), *parts]) if parts else None


def _whose(content: EvaluationContent) -> Prose | None:
    """Say which models are explained, if a label has several."""
    return Prose("Of several models of a label the first is explained.") if content.replicated else None


def _groups(content: EvaluationContent, explanation: str) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """(model, target, rows) of each model and target that is explained."""
    frame = content.results.explanation(explanation)
    if len(frame):
        for (label, seed, target), rows in frame.groupby(["model", "train_seed", "target"], sort=False):
            yield content.model_name(label, seed), target, rows


def _attribution(metric: PrimaryMetric, model: str, target: str, frame: pd.DataFrame) -> Section:
    whole = frame.iloc[0]
    sources, layers = (frame[frame["kind"] == kind] for kind in ("source", "layer"))
    chips, unit = int(whole["chips"]), unit_in_brackets(metric.difference_unit)
    exact, with_all = value_text(metric, whole["exact"]), value_text(metric, whole["whole"])
    text = f"On {chips} chips: {metric.title} {exact} without errors, {with_all} with all errors."
    for what, rows, describe in (
        ("error sources", sources, lambda name: f"**{name}** ({SOURCES[name]})"),
        ("layers", layers, lambda name: f"`{name}`"),
    ):
        costly = rows[
            rows["cost_alone_low"].astype(float).fillna(rows["cost_alone"]) > 0
        ]  # no interval: nothing is random
        beyond = " whose interval excludes 0" if rows["cost_alone_low"].notna().any() else ""
        if len(rows) and costly.empty:
            text += f" No {what.removesuffix('s')} alone has a cost beyond chance."
        for row in costly[:1].to_dict("records"):  # the largest cost is the first
            cost = f"{difference_text(metric, row['cost_alone'])} {_interval(metric, row, 'cost_alone')}".rstrip()
            text += f" The largest cost among the {what}{beyond}: {describe(row['name'])}, which alone costs {cost}."
    figure = Figure(
        partial(figures.attribution, metric, sources, layers, f"{model}-{target}"),
        "Cost of each error source and layer",
        "Bars: what is lost when only this error source or layer has errors. Diamonds: what is regained when all "
        "others have errors and this one has none. The two differ where errors add up or mask each other.",
    )
    steps = Figure(
        partial(
            figures.attribution_waterfall,
            Attribution(metric, float(whole["exact"]), float(whole["whole"]), chips, frame),
            f"{model}-{target}",
        ),
        "How the costs of the error sources add up",
        "What each error source costs alone, one after another. The gray bar is what they cost more or less when they "
        "act together.",
    )
    rows = [
        [
            ("source or layer", f"{row['name']}\n{SOURCES[row['name']]}" if row["kind"] == "source" else row["name"]),
            ("weights", f"{int(row['weights']):,}" if row["kind"] == "layer" else ""),
            (f"cost alone{unit}", _cost(metric, row, "cost_alone")),
            (f"regained without it{unit}", _cost(metric, row, "saved")),
        ]
        for row in [*sources.to_dict("records"), *layers.to_dict("records")]
    ]
    note = (
        f"Every row uses the same {chips} chips. An error source alone: all other sources are off. A "
        "layer alone: it is programmed with all errors, the other layers are exact. 95 % intervals over chips; none "
        "where nothing random acts."
    )
    title = f"{model} on {target}"
    return Section(title, [text, Grid([figure, steps, Table(f"Error attribution: {title}", rows)]), Prose(note)])


def _cost(metric: PrimaryMetric, row: Mapping[str, Any], key: str) -> str:
    return f"{format_value(metric, row[key])}\n{_interval(metric, row, key)}"


def _interval(metric: PrimaryMetric, row: Mapping[str, Any], key: str) -> str:
    return interval_text(metric, row[f"{key}_low"], row[f"{key}_high"])


def prediction(content: EvaluationContent) -> Section | None:
    """Show the predicted loss, and the predicted metric, beside those of the chips."""
    predictions = content.results.explanation("prediction").to_dict("records")
    if not predictions:
        return None
    chips, targets = predictions[0]["cost"], len({row["target"] for row in predictions})
    cost = f"; for {targets} targets it took as long as {format_number(chips, 1)} chips of Monte Carlo" if chips else ""
    note = (
        "Expected loss: the loss at the mean programmed weights, plus what the random errors around them add. This "
        "curvature term is estimated from gradients on both sides of the mean weights, at the width of the device's "
        f"errors{cost}. Read noise and converters are not included; the last column names what is left out. The "
        f"predicted {content.metric.title} does include them. It is that of weights drawn from their mean and "
        "variance, anew for every block of the data, with the 95 % interval of its sampling error."
    )
    checked = content.results.explanation("validity").to_dict("records")
    verdicts = {_key(row): row["verdict"] for row in checked if row["scale"] == 1}
    if verdicts:
        note += " **verdict**: on the device's own errors at its last time, see below."
    table = Table("Loss prediction", [_prediction_row(row, content, verdicts) for row in predictions], heads=2)
    blocks = [_whose(content), Prose(note), table, _validity(content, predictions)]
    return Section("Loss prediction without Monte Carlo", blocks)


def _key(row: Mapping[str, Any]) -> Key:
    return row["model"], row["train_seed"], row["target"]


def _prediction_row(
    row: Mapping[str, Any], content: EvaluationContent, verdicts: Mapping[Key, str]
) -> list[tuple[str, str]]:
    error, simulated, scored, metric = row["curvature_se"], MISSING, MISSING, content.metric
    estimate = content.estimates.get((row["model"], row["target"]))
    if estimate is not None:  # the chips of the same model
        losses = estimate.table.loc[estimate.table["train_seed"] == row["train_seed"], "loss"]
        if len(losses) > 0 and losses.notna().all():
            simulated = f"{format_number(float(losses.mean()), 4)}\n{len(losses)} chips"
            values = estimate.table.loc[estimate.table["train_seed"] == row["train_seed"], metric.name]
            scored = format_value(metric, float(values.mean()))
    curvature = "" if error is None or math.isnan(error) else f"± {format_number(error, 4)}"
    return [
        ("model", content.model_name(row["model"], row["train_seed"])),
        ("target", row["target"]),
        ("digital loss", format_number(row["clean_loss"], 4)),
        ("at the mean weights", format_number(row["mean_weight_loss"], 4)),
        ("curvature", f"{format_number(row['curvature'], 4)}\n{curvature}"),
        ("predicted loss", f"**{format_number(row['predicted'], 4)}**"),
        ("Monte Carlo", simulated),
        (
            f"predicted {metric.title}{unit_in_brackets(metric.unit)}",
            f"**{format_value(metric, row['metric_predicted'])}**\n"
            f"{interval_text(metric, row['metric_low'], row['metric_high'])}".rstrip(),
        ),
        (f"{metric.title} of the chips{unit_in_brackets(metric.unit)}", scored),
        *([("verdict", verdicts.get(_key(row), MISSING))] if verdicts else []),
        ("left out", row["left_out"] or "nothing"),
    ]


def _validity(content: EvaluationContent, predictions: Rows) -> Section | None:
    note = (
        "The standard deviations of each device's errors are multiplied by a factor, on the same data. Mean shifts, "
        f"random drift exponents, clipping and stuck cells are not scaled. {VERDICTS}"
    )
    left_out = {
        (content.model_name(row["model"], row["train_seed"]), row["target"]): row["left_out"] for row in predictions
    }
    panels = []
    for model, target, frame in _groups(content, "validity"):
        missing = left_out.get((model, target))
        without = f" (without {missing})" if missing else ""
        verdicts = ", ".join(f"{row['scale']:g} × {row['verdict']}" for row in frame.to_dict("records"))
        draw = partial(figures.loss_prediction, frame, f"{model}-{target}")
        label = "Predicted and simulated loss over the error scale"
        panels.append(Figure(draw, label, f"**{model} on {target}**{without}: {verdicts}."))
    return Section("Range of validity of the prediction", [Grid(panels, "panels"), Prose(note)]) if panels else None
