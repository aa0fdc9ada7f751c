"""Sections of an evaluation's page on accuracies and their differences; each is a function of the content."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

from aimc_robust.devices.limits import time_text
from aimc_robust.experiments.results.evaluation import paired_differences
from aimc_robust.experiments.results.files import NOTES
from aimc_robust.report import device_section, terms
from aimc_robust.report.evaluation import figures
from aimc_robust.report.evaluation.content import EvaluationContent
from aimc_robust.report.formatting import (
    MISSING,
    chips_text,
    difference_cells,
    format_interval,
    format_number,
    metric_text,
)
from aimc_robust.report.noise_section import noise_section
from aimc_robust.report.page_model import Block, Bullets, Figure, Grid, Prose, Section, Table, codes
from aimc_robust.targets.target import DeployableTarget


def intro(content: EvaluationContent) -> list[Block | None]:
    """Return what stands above all sections: the question, what was done, and notes."""
    spec = content.results.spec
    chips = f"{spec.chips} simulated chips per target"
    if spec.precision:
        precision = f"an interval of ±{spec.precision} points requires"
        chips = f"as many simulated chips per target as {precision}, at most {spec.chips},"
    models = "do these models" if len(spec.labels) > 1 else "does this model"
    ageing = ", and how does it change as the memory ages" if max(map(len, content.families)) > 1 else ""
    were = "s ({}) were" if len(spec.models) > 1 else " ({}) was"
    names = codes(map(str, spec.trials))
    summary = (
        f"Analog memory stores every weight with an error. {len(spec.models)} trained "
        f"model{were.format(names)} programmed onto {chips} and tested on the same {spec.images.count} "
        f"images of `{spec.images.name}` with the network `{spec.model.name}`. A target is the condition that a model "
        "is tested under: digital weights, a memory device at a time after programming, or weight noise. All models "
        "and times use the same chips."
    )
    unfinished = (
        f"Unfinished: {content.missing} of {len(spec.labels) * len(content.targets)} results are missing. Run the same "
        "command again to continue."
    )
    notes = content.results.read_json_file(NOTES)
    question = f"Which accuracy {models} reach when the weights are stored in each memory{ageing}?"
    return [
        Prose(question, "question"),
        Prose(summary),
        Prose(unfinished, "warning") if content.missing else None,
        Bullets(notes, "warning") if notes else None,
    ]


def summary(content: EvaluationContent) -> Section | None:
    """Say what each model reaches on each device, at first and at last."""
    families = [family for family in content.families if family[0].condition is not None]
    findings = [_finding(content, label, family) for label in content.results.spec.labels for family in families]
    items = [finding for finding in findings if finding is not None]
    return Section("Summary", [Bullets(items, "summary")]) if items else None


def _finding(content: EvaluationContent, label: str, family: list[DeployableTarget]) -> str | None:
    first, last = (content.row(label, target.name) for target in (family[0], family[-1]))
    if first is None or last is None:
        return None
    spec, loss = content.results.spec, content.losses.get((label, family[-1].name))
    model = f"**{label}** on " if len(spec.labels) > 1 else ""
    text = f"{model}`{family[0].name}`: **{format_number(first['mean'])} %** {_ci(first)}"
    if len(family) > 1:
        text += f", after {time_text(family[-1].time_s)} **{format_number(last['mean'])} %** {_ci(last)}"
    if loss:
        text += f"; {format_number(loss['difference'])} points {_ci(loss)} below digital weights"
    if spec.threshold is not None:
        text += f"; yield at {spec.threshold:g} %: {format_number(last['yield'], 0)} % of chips {_yield_ci(last)}"
    return f"{text}."


def _ci(row: Mapping[str, Any]) -> str:
    return format_interval(row["ci_low"], row["ci_high"], 2)


def _yield_ci(row: Mapping[str, Any]) -> str:
    return format_interval(row["yield_low"], row["yield_high"], 0) or MISSING


def accuracy(content: EvaluationContent) -> Section | None:
    """Show the accuracy of each model on each target."""
    spec = content.results.spec
    if not content.rows:
        return None
    meanings = [terms.MEAN, terms.interval(content.estimates.values(), two_stage=bool(spec.precision)), terms.SD_NOISE]
    meanings += [terms.SD_SEED, terms.WITHOUT_NOISE] if content.replicated else []
    meanings += [terms.SKEWED] if any(map(_is_skewed, content.rows)) else []
    meanings.append(terms.QUANTILE)
    if spec.threshold is not None:
        meanings.append(terms.chip_yield(spec.threshold, two_stage=bool(spec.precision)))
    sampling = terms.sampling_note([spec.images.count], [row["sampling"] for row in content.rows])
    chips = Figure(
        partial(figures.chip_accuracies, content),
        "Accuracy of every chip on every target",
        "Accuracy of every chip (stroke), and mean with 95 % interval (marker), by target.",
    )
    times = Figure(
        partial(figures.accuracy_over_time, content),
        "Accuracy over the time since programming",
        "Mean accuracy of the same chips over time, with 95 % intervals.",
    )
    table = Table("Accuracy", [_accuracy_row(content, row) for row in content.rows], heads=1 + (len(spec.labels) > 1))
    explained = Bullets(meanings, "note", "Terms", id="terms")
    return Section("Accuracy", [table, explained, Prose(sampling) if sampling else None, Grid([chips, times])])


def _is_skewed(row: Mapping[str, Any]) -> bool:
    """Whether the chips are so skewed that their own interval is shown."""
    return abs(row["skewness"]) > 1 and not math.isnan(row["skewed_low"])


def _accuracy_row(content: EvaluationContent, row: Mapping[str, Any]) -> list[tuple[str, str]]:
    spec = content.results.spec
    skewed = ""
    if _is_skewed(row):
        skewed = f"skewed {format_interval(row['skewed_low'], row['skewed_high'], 2)}"
    several = {"model": row["model"]} if len(spec.labels) > 1 else {}
    estimate = content.estimates[row["model"], row["target"]]
    without_noise = estimate.components.seed_text
    seeds = {"sd_seed\nwithout noise": f"{format_number(row['sd_seed'])}\n{without_noise}"}
    share = {}
    if spec.threshold is not None:
        share[f"yield\nchips of {spec.threshold:g} % or more"] = f"{format_number(row['yield'], 0)} %\n{_yield_ci(row)}"
    return [
        *several.items(),
        ("target", row["target"]),
        ("mean [%]\n95 % interval", f"**{format_number(row['mean'])}**\n{_ci(row)}\n{skewed}"),
        ("sd_noise", format_number(row["sd_noise"])),
        *(seeds.items() if content.replicated else ()),
        ("reached by\n95 % of chips", format_number(row["reached_by_95"])),
        ("worst chip", format_number(row["worst"]) + (f"\nno. {row['worst_chip']}" if row["chips"] > 1 else "")),
        *share.items(),
        ("loss", format_number(row["loss"], 3)),
        *((f"{name}\n95 % interval", metric_text(estimate, name)) for name in content.metrics),
        ("chips", chips_text(row, spec.precision)),
    ]


def differences(content: EvaluationContent) -> Section | None:
    """Compare models on the same target, and targets on the same model."""
    several = len(content.results.spec.labels) > 1

    def condition(row: Mapping[str, Any], side: str) -> str:
        return f"{row[f'{side}_model']} on {row[f'{side}_target']}" if several else row[f"{side}_target"]

    rows = [
        [
            ("first", condition(row, "first")),
            ("second", condition(row, "second")),
            *difference_cells(row, "first − second"),
        ]
        for row in paired_differences(content.results.spec, content.estimates).to_dict("records")
    ]
    models = "the trained models that both sides have and their chips, or over chips if there is only one model"
    note = Prose(terms.corrected_p(over=models if content.replicated else "chips"))
    title = "Pairwise differences"
    return Section(title, [Table(title, rows, heads=0), note]) if rows else None


def devices(content: EvaluationContent) -> Section | None:
    """Describe the devices."""
    return device_section.device_section(content.devices, content.results.coverage)


def noises(content: EvaluationContent) -> Section | None:
    """Describe the targets that are no devices."""
    return noise_section(content.targets)


def reproduction(content: EvaluationContent) -> Section:
    """Say how to get the same numbers again."""
    spec = content.results.spec
    how = (
        f"Image normalization: {spec.images.normalization}. Converter ranges and BatchNorm statistics on the chip "
        f"come from {spec.images.calibrated_on}. Root of the chips' random draws: chip_seed {spec.chip_seed}. "
        "`question.json` beside this page is the complete spec with every device card; `evaluations.csv` has a row "
        "per chip. The numbers do not depend on the number of processes."
    )
    options = [("options", f"`{spec.selection.options}`")] if spec.selection.options else []
    rows = [[("model", str(m.trial)), ("weights", f"`{m.file}`"), *options, ("hash", f"`{m.id}`")] for m in spec.models]
    notes = device_section.environment_notes(content.results.environments)
    return Section("How to reproduce", [how, Table("Weights", rows), *notes])
