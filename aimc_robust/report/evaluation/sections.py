"""Sections of an evaluation's page on the primary metric and its differences; each is a function of the content."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

from aimc_robust.devices.limits import time_text
from aimc_robust.experiments.results.evaluation import paired_differences
from aimc_robust.experiments.results.files import NOTES
from aimc_robust.plot.labels import axis_label, unit_in_brackets
from aimc_robust.report import device_section, terms
from aimc_robust.report.evaluation import figures
from aimc_robust.report.evaluation.content import EvaluationContent
from aimc_robust.report.evaluation.device_pictures import device_pictures
from aimc_robust.report.formatting import MISSING, format_interval, format_number
from aimc_robust.report.metric_text import (
    at_least,
    chips_text,
    column_text,
    difference_cells,
    difference_text,
    format_value,
    heading,
    interval_text,
    threshold_text,
    value_text,
)
from aimc_robust.report.noise_section import noise_section
from aimc_robust.report.page_model import Block, Bullets, Figure, Grid, Prose, Section, Table, codes
from aimc_robust.statistics.primary_metric import PrimaryMetric
from aimc_robust.targets.target import DeployableTarget


def intro(content: EvaluationContent) -> list[Block | None]:
    """Return what stands above all sections: the question, what was done, and notes."""
    spec = content.results.spec
    chips = f"{spec.chips} simulated chips per target"
    if spec.precision:
        precision = f"an interval of ±{spec.precision} {content.metric.difference_unit}".rstrip() + " requires"
        chips = f"as many simulated chips per target as {precision}, at most {spec.chips},"
    models = "do these models" if len(spec.labels) > 1 else "does this model"
    ageing = ", and how does it change as the memory ages" if max(map(len, content.families)) > 1 else ""
    were = "s ({}) were" if len(spec.models) > 1 else " ({}) was"
    names = codes(map(str, spec.trials))
    summary = (
        f"Analog memory stores every weight with an error. {len(spec.models)} trained "
        f"model{were.format(names)} programmed onto {chips} and tested on the same {content.tested} "
        f"of `{spec.images.name}` with the network `{spec.model.name}`. A target is the condition that a model "
        "is tested under: digital weights, a memory device at a time after programming, or weight noise. All models "
        "and times use the same chips."
    )
    unfinished = (
        f"Unfinished: {content.missing} of {len(spec.labels) * len(content.targets)} results are missing. Run the same "
        "command again to continue."
    )
    facts = spec.images.notes
    notes = [note for note in content.results.read_json_file(NOTES) or [] if note not in facts]
    question = f"Which {content.metric.title} {models} reach when the weights are stored in each memory{ageing}?"
    return [
        Prose(question, "question"),
        Prose(summary),
        Prose(unfinished, "warning") if content.missing else None,
        Bullets(notes, "warning") if notes else None,
        Bullets(facts, "note", "Data") if facts else None,
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
    spec, metric, loss = content.results.spec, content.metric, content.losses.get((label, family[-1].name))
    model = f"**{label}** on " if len(spec.labels) > 1 else ""
    text = f"{model}`{family[0].name}`: **{value_text(metric, first['mean'])}** {_ci(metric, first)}"
    if len(family) > 1:
        text += f", after {time_text(family[-1].time_s)} **{value_text(metric, last['mean'])}** {_ci(metric, last)}"
    if loss:
        text += f"; {_loss_text(metric, loss)}"
    if spec.threshold is not None:
        share = f"{format_number(last['yield'], 0)} % of chips {_yield_ci(last)}"
        text += f"; yield at {threshold_text(metric, spec.threshold)}: {share}"
    return f"{text}."


def _loss_text(metric: PrimaryMetric, loss: Mapping[str, Any]) -> str:
    """Say how a device differs from digital weights, given the difference digital weights - device."""
    if loss["difference"] == 0.0 and not loss["ci_low"] < 0.0:
        return "the same as digital weights"
    sign = math.copysign(1.0, loss["difference"])
    size = difference_text(metric, sign * loss["difference"])
    interval = interval_text(metric, *sorted(sign * loss[key] for key in ("ci_low", "ci_high")))
    word = "better" if metric.is_better(0.0, loss["difference"]) else "worse"
    size = " ".join(filter(None, (size, interval, word)))
    if loss["ci_low"] <= 0.0 <= loss["ci_high"]:
        return f"not settled whether better or worse than digital weights ({size})"
    return f"{size} than digital weights"


def _ci(metric: PrimaryMetric, row: Mapping[str, Any]) -> str:
    return interval_text(metric, row["ci_low"], row["ci_high"])


def _yield_ci(row: Mapping[str, Any]) -> str:
    return format_interval(row["yield_low"], row["yield_high"], 0) or MISSING


def estimates(content: EvaluationContent) -> Section | None:
    """Show the primary metric of each model on each target."""
    spec, metric, title = content.results.spec, content.metric, heading(content.metric)
    if not content.rows:
        return None
    interval = terms.interval(metric, content.estimates.values(), two_stage=bool(spec.precision))
    meanings = [terms.mean(metric), interval, terms.SD_NOISE]
    meanings += [terms.SD_SEED, terms.WITHOUT_NOISE] if content.replicated else []
    meanings += [terms.SKEWED] if any(map(_is_skewed, content.rows)) else []
    meanings.append(terms.reached(metric))
    if spec.threshold is not None:
        meanings.append(
            terms.chip_yield(metric, spec.threshold, two_stage=bool(spec.precision), replicated=content.replicated)
        )
    meanings += terms.compensations(content.targets)
    counts, half_widths = {row["n"] for row in content.rows}, [row["sampling"] for row in content.rows]
    sampling = terms.sampling_note(metric, content.results.task.items, counts, half_widths)
    chips = Figure(
        partial(figures.chips, content),
        f"{title} of every chip on every target",
        f"{title} of every chip (stroke), and mean with 95 % interval (marker), by target.",
    )
    times = Figure(
        partial(figures.over_time, content),
        f"{title} over the time since programming",
        f"Mean {metric.title} of the same chips over time, with 95 % intervals.",
    )
    yields = Figure(
        partial(figures.yields, content),
        f"Yield over the {metric.title}",
        figures.yields_caption(content),
    )
    table = Table(title, [_estimate_row(content, row) for row in content.rows], heads=1 + (len(spec.labels) > 1))
    explained = Bullets(meanings, "note", "Terms", id="terms")
    return Section(title, [table, explained, Prose(sampling) if sampling else None, Grid([chips, times, yields])])


def _is_skewed(row: Mapping[str, Any]) -> bool:
    """Whether the chips are so skewed that their own interval is shown."""
    return abs(row["skewness"]) > 1 and not math.isnan(row["skewed_low"])


def _estimate_row(content: EvaluationContent, row: Mapping[str, Any]) -> list[tuple[str, str]]:
    spec, number = content.results.spec, partial(format_value, content.metric)
    skewed = ""
    if _is_skewed(row):
        skewed = f"skewed {interval_text(content.metric, row['skewed_low'], row['skewed_high'])}"
    several = {"model": row["model"]} if len(spec.labels) > 1 else {}
    estimate = content.estimates[row["model"], row["target"]]
    has_loss = any(not math.isnan(other["loss"]) for other in content.rows)
    without_noise = estimate.components.seed_text
    seeds = {"sd_seed\nwithout noise": f"{number(row['sd_seed'])}\n{without_noise}"}
    share = {}
    if spec.threshold is not None:
        limit = f"{at_least(content.metric)} {threshold_text(content.metric, spec.threshold)}"
        share[f"yield\nchips with {limit}"] = f"{format_number(row['yield'], 0)} %\n{_yield_ci(row)}"
    return [
        *several.items(),
        ("target", row["target"]),
        (
            f"mean{unit_in_brackets(content.metric.unit)}\n95 % interval",
            f"**{number(row['mean'])}**\n{_ci(content.metric, row)}\n{skewed}",
        ),
        ("sd_noise", number(row["sd_noise"])),
        *(seeds.items() if content.replicated else ()),
        ("reached by\n95 % of chips", number(row["reached_by_95"])),
        ("worst chip", f"{number(row['worst'])}\n{_worst_text(content, row)}"),
        *share.items(),
        *([("loss", format_number(row["loss"], 3))] if has_loss else []),
        *((f"{axis_label(metric)}\n95 % interval", column_text(estimate, metric.name)) for metric in content.others),
        ("chips", chips_text(row, spec.precision)),
    ]


def _worst_text(content: EvaluationContent, row: Mapping[str, Any]) -> str:
    """Name the worst chip, and the model that it is of, where there are several."""
    chip = [f"no. {row['worst_chip']}"] if row["chips"] > 1 else []
    model = [content.model_name(row["model"], row["worst_train_seed"])] if row["models"] > 1 else []
    return " of ".join(chip + model)


def differences(content: EvaluationContent) -> Section | None:
    """Compare models on the same target, and targets on the same model."""
    several = len(content.results.spec.labels) > 1

    def condition(row: Mapping[str, Any], side: str) -> str:
        return f"{row[f'{side}_model']} on {row[f'{side}_target']}" if several else row[f"{side}_target"]

    rows = [
        [
            ("first", condition(row, "first")),
            ("second", condition(row, "second")),
            *difference_cells(content.metric, row, "first − second"),
        ]
        for row in paired_differences(content.results.spec, content.estimates).to_dict("records")
    ]
    models = "the trained models that both sides have and their chips, or over chips if there is only one model"
    note = Prose(
        terms.corrected_p(content.metric, content.results.task.items, over=models if content.replicated else "chips")
    )
    title = "Pairwise differences"
    return Section(title, [Table(title, rows, heads=0), note]) if rows else None


def devices(content: EvaluationContent) -> Section | None:
    """Describe the devices."""
    pictures = partial(device_pictures, content)
    return device_section.device_section(content.devices, content.results, pictures=pictures)


def noises(content: EvaluationContent) -> Section | None:
    """Describe the targets that are no devices."""
    return noise_section(content.targets)
