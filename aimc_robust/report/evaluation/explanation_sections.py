"""Sections of an evaluation's page that explain its losses: error attribution, and prediction without Monte Carlo."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

from aimc_robust.report.evaluation import figures
from aimc_robust.report.evaluation.content import AttributionResult, EvaluationContent, LossPrediction
from aimc_robust.report.formatting import MISSING, format_interval, format_number
from aimc_robust.report.page_model import Figure, Grid, Prose, Section, Table


def attribution(content: EvaluationContent) -> Section | None:
    """Show which error sources and layers cost the accuracy."""
    parts = [_attribution(result) for result in content.attributions]
    return Section("Error attribution", parts) if parts else None


def _attribution(result: AttributionResult) -> Section:
    text = f"Accuracy {result.exact:.2f} % without errors, {result.whole:.2f} % with all errors."
    if result.sources:
        first = result.sources[0]
        text += f" Largest contributor among the error sources: **{first['name']}** ({first['description']}), "
        text += f"which alone costs {format_number(first['cost_alone'])} points."
    if result.layers:
        first = result.layers[0]
        text += f" Largest contributor among the layers: `{first['name']}`, "
        text += f"which alone costs {format_number(first['cost_alone'])} points."
    figure = Figure(
        partial(figures.attribution, result),
        "Cost of each error source and layer",
        "Bars: accuracy lost when only this error source or layer has errors. Diamonds: accuracy regained when all "
        "others have errors and this one has none. The two differ where errors add up or mask each other.",
    )
    rows = [
        [
            ("source or layer", f"{row['name']}\n{row['description']}" if row["kind"] == "source" else row["name"]),
            ("weights", f"{int(row['weights']):,}" if row["kind"] == "layer" else ""),
            ("cost alone [points]", _points(row, "cost_alone")),
            ("regained without it [points]", _points(row, "saved")),
        ]
        for row in result.sources + result.layers
    ]
    note = (
        f"Every row uses the same {result.chips} chips. An error source alone: all other sources are off. A layer "
        "alone: it is programmed with all errors, the other layers are exact. 95 % intervals over chips; none where "
        "nothing random acts."
    )
    title = f"{result.model} on {result.target}"
    return Section(title, [text, Grid([figure, Table(f"Error attribution: {title}", rows)]), Prose(note)])


def _points(row: Mapping[str, Any], key: str) -> str:
    return f"{format_number(row[key])}\n{format_interval(row[f'{key}_low'], row[f'{key}_high'], 2)}"


def prediction(content: EvaluationContent) -> Section | None:
    """Show the loss predicted to second order beside that of the chips."""
    if not content.predictions:
        return None
    chips, targets = content.predictions[0]["cost"], len({row["target"] for row in content.predictions})
    cost = f"; for {targets} targets it took as long as {format_number(chips, 1)} chips of Monte Carlo" if chips else ""
    note = (
        "Expected loss to second order: the loss at the mean programmed weights, plus ½ Σ variance × curvature. The "
        "curvature is Hutchinson's estimate of the Hessian diagonal at the trained weights. One pass over the images "
        f"serves all devices and times{cost}. Read noise and converters are not included; the last column names what "
        "is left out."
    )
    table = Table("Loss prediction", [_prediction_row(row) for row in content.predictions], heads=2)
    return Section("Loss prediction without Monte Carlo", [Prose(note), table, _validity(content)])


def _prediction_row(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    error, simulated = row["curvature_se"], row["simulated"]
    curvature = "" if error is None or math.isnan(error) else f"± {format_number(error, 4)}"
    return [
        ("model", row["model"]),
        ("target", row["target"]),
        ("digital loss", format_number(row["clean_loss"], 4)),
        ("at the mean weights", format_number(row["mean_weight_loss"], 4)),
        ("curvature", f"{format_number(row['curvature'], 4)}\n{curvature}"),
        ("predicted loss", f"**{format_number(row['predicted'], 4)}**"),
        ("Monte Carlo", MISSING if simulated is None else f"{format_number(simulated, 4)}\n{row['chips']} chips"),
        ("left out", row["left_out"] or "nothing"),
    ]


def _validity(content: EvaluationContent) -> Section | None:
    note = (
        "The standard deviations of each device's errors are multiplied by a factor, on the same images. Mean shifts, "
        "random drift exponents, clipping and stuck cells are not scaled. holds: the prediction lies within the Monte "
        "Carlo interval, widened by its own uncertainty, or within 10 % of the rise of the loss. undecided: too few "
        "chips to detect a difference of half the rise."
    )
    label = "Predicted and simulated loss over the error scale"
    panels = [Figure(partial(figures.loss_prediction, p), label, _verdicts(p)) for p in content.loss_predictions]
    return Section("Range of validity of the prediction", [Grid(panels, "panels"), Prose(note)]) if panels else None


def _verdicts(prediction: LossPrediction) -> str:
    without = f" (without {prediction.left_out})" if prediction.left_out else ""
    verdicts = ", ".join(f"{row['scale']:g} × {row['verdict']}" for row in prediction.rows)
    return f"**{prediction.model} on {prediction.target}**{without}: {verdicts}."
