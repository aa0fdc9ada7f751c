"""The page of a recommendation, advice.html: a list of sections, each a function of the recommendation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import tomli_w
from matplotlib.figure import Figure as MatplotlibFigure

from aimc_robust.experiments.recommend.run import Recommendation
from aimc_robust.plot.labels import difference_label, direction, unit_in_brackets
from aimc_robust.plot.style import COLORS, figure_style, wrap_name
from aimc_robust.report.formatting import format_p_value, format_significant
from aimc_robust.report.metric_text import format_value, heading, interval_text, value_text
from aimc_robust.report.page_files import page_files, write_files
from aimc_robust.report.page_model import Block, Bullets, Code, Figure, Page, Prose, Section, Table
from aimc_robust.report.recommendation.digital_layers import digital_layers, proposal_line
from aimc_robust.report.rendering import RenderedFigure, render_figure
from aimc_robust.report.terms import SETTLED, SINGLE, better_sign, compensation
from aimc_robust.statistics.primary_metric import PrimaryMetric


def write_recommendation(recommendation: Recommendation) -> Path:
    """Write advice.html, advice.md and figures into the folder of a recommendation; return advice.html's path."""
    page = Page(
        f"Training method for {recommendation.target}",
        "recommendation",
        _intro(recommendation),
        [make(recommendation) for make in SECTIONS],
    )
    write_files(recommendation.folder, page_files(page, "advice"))
    return recommendation.folder / "advice.html"


def _intro(recommendation: Recommendation) -> list[Block | None]:
    proposal, verdict = recommendation.proposal, recommendation.verdict
    if verdict is None:
        return [Prose(f"Proposal: **{proposal.label}**", "question"), proposal_line(recommendation)]
    other = "" if verdict.best in ("", proposal.label) else f" Best mean of the sweep: {verdict.best}."
    return [
        Prose(f"Proposal: **{proposal.label}** · **{verdict.judgement}**", "question"),
        f"{verdict.sentence}{other}",
        proposal_line(recommendation),
    ]


def measurement_text(recommendation: Recommendation) -> str:
    """Return what the device costs, and the noise that costs as much, in Markdown."""
    measured, metric = recommendation.measurement, recommendation.task.primary
    sigma, low, high = (format_significant(measured[key]) for key in ("sigma", "low", "high"))
    noise = (
        f"Gaussian noise of sigma = **{sigma}** [{low}, {'unbounded' if measured['high'] is None else high}] of each "
        "filter's largest weight costs the same (equivalent noise)."
    )
    if not measured["identified"]:
        noise = (
            f"The equivalent noise could not be determined: {measured['reason']} The root mean square of "
            f"the weight errors{_uncompensated(measured)} is used instead: sigma = **{sigma}**."
        )
    low, high = measured["device_interval"]
    precision = measured.get("forward_precision", "32-true")
    passes = "" if precision == "32-true" else f", forward passes in {precision}"
    return (
        f"{heading(metric)} {value_text(metric, measured['digital'])} with digital weights, "
        f"{value_text(metric, measured['device'])} {interval_text(metric, low, high)} on "
        f"{measured['chips']} chips of the device ({measured['examples']} validation examples{passes}). {noise}"
    )


def _uncompensated(measured: dict[str, Any]) -> str:
    return " before compensation" if measured.get("compensation") else ""


def measurement(recommendation: Recommendation) -> Section:
    """Show the errors of the device on the model, and the noise that costs as much."""
    measured = recommendation.measurement
    rows = [
        [
            ("layer", layer["layer"]),
            ("weights", f"{layer['weights']:,}"),
            ("std of the error / max|w|", format_significant(layer["std_layer_max"])),
            ("rms error / max|w|", format_significant(layer["rms_layer_max"])),
            ("rms error / filter's max|w|", format_significant(layer["rms_filter_max"])),
        ]
        for layer in recommendation.layers.to_dict("records")
    ]
    note = (
        "std: random part of the weight errors. rms: their root mean square, including the systematic part"
        f"{_uncompensated(measured)}. The last "
        f"column has the unit of RWP's sigma (filter_max); of all weights it is {format_significant(measured['rms'])}."
    )
    compensated = Prose(compensation(names)) if (names := measured.get("compensation")) else None
    return Section(
        "Errors of the device on this model",
        [measurement_text(recommendation), Table("Errors of each layer", rows), Prose(note), compensated],
    )


def proposed_method(recommendation: Recommendation) -> Section:
    """Show the proposal as a spec takes it, and its reasons."""
    proposal = recommendation.proposal
    settings = tomli_w.dumps({"methods": {proposal.label: proposal.settings}}).strip()
    return Section("Proposed method", [Code(settings), Bullets(proposal.reasons)])


def confirmation(recommendation: Recommendation) -> Section | None:
    """Compare the proposal with each alternative of the sweep."""
    verdict, questions = recommendation.verdict, recommendation.proposal.questions
    if verdict is None or verdict.table.empty:
        return None
    records, metric = verdict.table.to_dict("records"), recommendation.task.primary
    rows = [
        [
            ("alternative", f"{row['second_model']}\n{questions.get(row['second_model'], '')}"),
            (
                f"proposal − alternative{unit_in_brackets(metric.difference_unit)}\n95 % interval",
                f"{format_value(metric, row['difference'])}\n{interval_text(metric, row['ci_low'], row['ci_high'])}",
            ),
            ("p, corrected", format_p_value(row["p_holm"])),
        ]
        for row in records
    ]
    over = "chips of one trained model each, so another training may differ"
    note = (
        f"Differences on the same chips of {recommendation.target} and the same test data, over "
        f"{'trained models' if records[0]['covers'] == 'models' else over}. {better_sign(metric)}"
        "confirmed: better than plain SGD and worse "
        f"than no alternative. refuted: worse than one of them. Both require settled differences: {SETTLED} {SINGLE} "
        "The proposal was made on validation data before the sweep. All results: [report of the "
        "sweep](sweep/report.html). To run the sweep again: `sweep/spec.toml`."
    )
    figure = Figure(
        partial(difference_figure, metric, verdict.table), "Difference between the proposal and each alternative"
    )
    return Section("Confirmation by a sweep", [Table("Differences", rows), figure, Prose(note)])


SECTIONS: list[Callable[[Recommendation], Section | None]] = [
    measurement,
    proposed_method,
    confirmation,
    digital_layers,
]


def difference_figure(metric: PrimaryMetric, table: pd.DataFrame) -> RenderedFigure:
    """Draw the difference between the proposal and each alternative, with its interval."""
    with figure_style():
        figure = MatplotlibFigure(figsize=(6.4, 0.9 + 0.34 * len(table)), layout="constrained")
        axes = figure.subplots()
        half = ((table["ci_high"] - table["ci_low"]) / 2).fillna(0.0)
        options: dict[str, Any] = {
            "color": COLORS[1],
            "linestyle": "none",
            "marker": "o",
            "markersize": 5,
            "capsize": 3,
        }
        axes.errorbar(table["difference"], range(len(table)), xerr=half, **options)
        axes.axvline(0.0, color=COLORS[0], linewidth=0.8)
        axes.set_yticks(range(len(table)), [wrap_name(name) for name in table["second_model"]])
        axes.set_ylim(len(table) - 0.4, -0.6)
        axes.set_xlabel(f"proposal − alternative [{difference_label(metric)} on the device]{direction(metric)}")
        axes.grid(axis="y", visible=False)
        return render_figure(figure, "differences")
