"""Sections of a comparison's page that show its evaluation; each is a function of the content."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

from aimc_robust.io.csv_text import csv_text
from aimc_robust.plot.labels import axis_label, unit_in_brackets
from aimc_robust.report import device_section, terms
from aimc_robust.report.comparison import device_figures, figures, table_files, text
from aimc_robust.report.comparison.content import ComparisonContent
from aimc_robust.report.comparison.landscapes import landscape_figure
from aimc_robust.report.comparison.rankings import compensation_pairs
from aimc_robust.report.formatting import MISSING, format_number
from aimc_robust.report.metric_text import ci_text, column_text, format_value, heading
from aimc_robust.report.noise_section import noise_section
from aimc_robust.report.page_model import (
    Block,
    Bullets,
    Cell,
    Code,
    Figure,
    Files,
    Filters,
    Grid,
    Prose,
    Section,
    Table,
    codes,
)  # fmt: skip
from aimc_robust.statistics.estimate_keys import Key
from aimc_robust.targets.target import CrossbarTarget


def intro(content: ComparisonContent) -> list[Block | None]:
    """Return what stands above all sections: the question, what was done, warnings, and the terms."""
    spec, trials = content.results.spec, len(content.results.trials)
    networks = text.network_names(spec)
    items = content.results.task.items
    data = [f"the same {f'{count} ' if count else ''}{items} of `{name}`" for name, count in content.test_data]
    summary = (
        f"Analog memory stores every weight with an error. This report compares {len(spec.labels)} training methods × "
        f"{len(spec.train_seeds)} trained models each. Every model is programmed onto {spec.chips} simulated chips per "
        f"target and tested on {' or '.join(data)} with the network{'s' if len(networks) > 1 else ''} "
        f"{codes(networks)}. A target is the condition that a model is tested under: digital weights, a memory device, "
        "or weight noise. All methods are tested on the same chips."
    )
    scale = f"Run {content.scale_note}: not the problem of the spec as it is written"
    have = "has" if content.missing == 1 else "have"
    unfinished = f"Unfinished: {content.missing} of {trials} models {have} no complete result yet."
    failed = f"{len(content.failures)} of {trials} models failed, see [Failed models](#failed)."
    again = f"{unfinished} Run the same command again to continue."
    warnings = {f"{scale}.": content.scale_note, again: content.missing, failed: content.failures}
    ranks = terms.ranks(content.metric, content.baselines, same_data=text.has_different_data(spec))
    interval = terms.interval(content.metric, content.estimates.values())
    meanings = [terms.mean(content.metric), terms.SD_NOISE, terms.SD_SEED, interval]
    meanings += [ranks] if content.estimates else []
    meanings += [terms.settled(content.comparison_count)] if content.comparisons else []
    meanings += terms.compensations(content.targets.values())
    return [
        Prose(spec.question, "question"),
        Prose(summary),
        *(Prose(warning, "warning") for warning, applies in warnings.items() if applies),
        Bullets(meanings, "note", "Terms", id="terms"),
    ]


def estimates(content: ComparisonContent) -> Section:
    """Show the primary metric of each method on each target."""
    metric, title, items = content.metric, heading(content.metric), content.results.task.items
    note = (
        f"Each cell: mean {metric.title}{unit_in_brackets(metric.unit)}, 95 % interval, and standard deviations "
        "sd_noise · sd_seed; see [Terms](#terms). "
    )
    counts = [count for _, count in content.test_data]
    sampling = terms.sampling_note(metric, items, counts, content.sampling_half_widths)
    by_target = Figure(
        partial(figures.estimates_by_target, content),
        f"{title} of each method on each target",
        f"{title} by target, with 95 % intervals.",
    )
    by_sigma = Figure(
        partial(figures.estimates_by_sigma, content),
        f"{title} over the strength of Gaussian weight noise",
        f"{title} under Gaussian weight noise of increasing strength, with 95 % intervals. All strengths use the same "
        "random draws, scaled.",
    )
    over_time = Figure(
        partial(device_figures.over_time, content),
        f"{title} of each method over the time since programming",
        f"Mean {metric.title} of the same chips over the time since programming; bands are 95 % intervals.",
        in_markdown=False,
    )
    yields = Figure(
        partial(device_figures.yields, content),
        f"Yield of each method over the {metric.title}",
        device_figures.yields_caption(content),
        in_markdown=False,
    )
    blocks: list[Block | None] = [
        Filters(content.results.spec.labels, list(content.targets)),
        *_target_tables(content, title, partial(_estimate_cell, content)),
        Prose(f"{note} {sampling or ''}".strip()) if content.estimates else None,
        Files(table_files.estimate_files(content)),
        Grid([by_target, by_sigma]),
        over_time,
        yields,
    ]
    return Section(title, blocks)


def metrics(content: ComparisonContent) -> Section | None:
    """Show the further metrics of each method on each target."""
    cells = {axis_label(metric): partial(_metric_cell, content, metric.name) for metric in content.others}
    parts = [Section(title, _target_tables(content, title, cell)) for title, cell in cells.items()]
    same = f"over the same models and chips as those of the {content.metric.title}"
    note = Prose(f"Each cell: mean and 95 % interval, {same}.")
    return Section("Further metrics", [note, *parts]) if parts else None


def _target_tables(content: ComparisonContent, name: str, cell: Callable[[str, str], str | Cell]) -> list[Table]:
    """Tables with a row per method and a column per target; `cell` is a function of both."""
    splits = {name: target.split for name, target in content.targets.items()}
    heads = {name: name if split == "test" else f"{name}\non {split} data" for name, split in splits.items()}
    return [
        Table(
            f"{name}: {', '.join(targets)}",
            [
                [
                    ("method", f"{method}\n{text.method_overrides(content.results.spec, method)}"),
                    *((heads[target], cell(method, target)) for target in targets),
                ]
                for method in content.results.spec.labels
            ],
            "results",
            across="target",
        )
        for targets in content.target_groups
    ]


def _estimate_cell(content: ComparisonContent, method: str, target: str) -> str | Cell:
    ranking = content.rankings[target].get(method)
    if ranking is None:
        return MISSING
    estimate, seeds = ranking.estimate, len(content.results.spec.train_seeds)
    number = partial(format_value, content.metric)
    lines = [
        number(estimate.mean),
        ci_text(estimate, 1),
        f"sd {number(estimate.sd_noise)} · {number(estimate.sd_seed)}",
        f"{estimate.seeds} of {seeds} models" if estimate.seeds < seeds else "",
    ]
    mark: Literal["best", "better", ""] = "best" if ranking.is_best else "better" if ranking.status == "better" else ""
    return Cell("\n".join(lines), mark, estimate.mean, ranking.tags)


def _metric_cell(content: ComparisonContent, name: str, method: str, target: str) -> str | Cell:
    estimate = content.estimates.get((method, target))
    if estimate is None or (cell := column_text(estimate, name)) == MISSING:
        return MISSING
    return Cell(cell, value=estimate.for_column(name).mean)


def landscape(content: ComparisonContent) -> Section | None:
    """Show the loss around the trained models."""
    parts = [_landscape(content, name) for name in content.landscapes]
    return Section("Loss landscape", [Prose(text.landscape_note(content.results.spec)), *parts]) if parts else None


def _landscape(content: ComparisonContent, name: str) -> Section:
    spec, surfaces = content.results.landscapes[name], content.landscapes[name]
    draw, seeds = partial(landscape_figure, name, spec.grid, surfaces), len(content.results.spec.train_seeds)
    rows = [
        [
            ("method", method + (f"\n{surface.models} of {seeds} models" if surface.models < seeds else "")),
            ("lowest loss", format_number(surface.lowest, 3)),
            ("points at most 1 above it [%]", format_number(surface.flat_percent, 1)),
        ]
        for method, surface in surfaces.items()
    ]
    blocks: list[Block | None] = [
        Figure(draw, f"Loss of each method over the plane of {name}"),
        Table(f"Flatness: {name}", rows),
        Files(table_files.landscape_files(name, spec.grid, surfaces)),
    ]
    return Section(f"{name}, on {spec.split} data", blocks)


def failures(content: ComparisonContent) -> Section | None:
    """List the models that failed."""
    items = [f"`{trial}`: {reason}" for trial, reason in content.failures.items()]
    return Section("Failed models", [Bullets(items)], id="failed") if items else None


def compensation(content: ComparisonContent) -> Section | None:
    """Compare each device with and without its digital compensation."""
    crossbars = [target for target in content.targets.values() if isinstance(target, CrossbarTarget)]
    names = {target.name: " and ".join(target.deployment.compensation) for target in crossbars}

    def text_of(key: Key) -> str:
        return f"{format_value(content.metric, content.estimates[key].mean)} {ci_text(content.estimates[key], 1)}"

    unit = unit_in_brackets(content.metric.unit)
    rows = [
        [
            ("target", before[1]),
            ("method", before[0]),
            (f"without{unit}", text_of(before)),
            (f"with{unit}", text_of(after)),
            ("difference", text.format_comparison(content.comparisons[after, before])),
            ("compensation", names[after[1]]),
        ]
        for after, before in compensation_pairs(content.estimates, content.results.spec.labels, crossbars)
    ]
    note = Prose("Digital corrections, compared with the same chips without them. settled: see [Terms](#terms).")
    warning = text.trained_uncompensated(content.results.spec, crossbars)
    return Section("Compensation", [note, warning, Table("Compensation", rows)]) if rows else None


def devices(content: ComparisonContent) -> Section | None:
    """Describe the devices; those that only add a compensation are left out."""
    groups = [[t] for t in content.targets.values() if isinstance(t, CrossbarTarget) and t.corrects is None]
    results = content.results
    return device_section.device_section(groups, results, partial(device_section.widest_ranges, results))


def noises(content: ComparisonContent) -> Section | None:
    """Describe the targets that are no devices."""
    return noise_section(content.targets.values())


def reproduction(content: ComparisonContent) -> Section:
    """Say how to get the same numbers again."""
    how = (
        "Save the spec below as `spec.toml` (a copy lies beside this page) in a folder where its relative paths "
        "resolve, and run `aimc-robust compare spec.toml`. The same seeds give the same numbers with the same "
        "versions and number of threads."
    )
    several = (
        "These results were produced in several environments, with different versions or numbers of threads. A run "
        "in a single environment may differ in the last digits."
    )
    environments, spec_text = content.results.environments, content.results.spec_text
    warnings = [Prose(several, "warning")] if len(environments) > 1 else []
    notes = device_section.environment_notes(environments)
    files = Files({"evaluations.csv": partial(csv_text, content.frame)})
    return Section("How to reproduce", [how, *warnings, *notes, files, Code(spec_text)])
