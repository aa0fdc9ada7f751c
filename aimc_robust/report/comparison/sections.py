"""Sections of a comparison's page that show its evaluation; each is a function of the content."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

from aimc_robust.io.csv_text import csv_text
from aimc_robust.report import device_section, terms
from aimc_robust.report.comparison import figures, table_files, text
from aimc_robust.report.comparison.content import ComparisonContent
from aimc_robust.report.comparison.landscapes import landscape_figure
from aimc_robust.report.comparison.rankings import compensation_pairs
from aimc_robust.report.formatting import MISSING, format_ci, format_number, metric_text
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
from aimc_robust.statistics.paired_difference import Key
from aimc_robust.targets.target import CrossbarTarget


def intro(content: ComparisonContent) -> list[Block | None]:
    """Return what stands above all sections: the question, what was done, warnings, and the terms."""
    spec, trials = content.results.spec, len(content.results.trials)
    networks = text.network_names(spec)
    images = [f"the same {f'{count} ' if count else ''}images of `{name}`" for name, count in content.images]
    summary = (
        f"Analog memory stores every weight with an error. This report compares {len(spec.labels)} training methods × "
        f"{len(spec.train_seeds)} trained models each. Every model is programmed onto {spec.chips} simulated chips per "
        f"target and tested on {' or '.join(images)} with the network{'s' if len(networks) > 1 else ''} "
        f"{codes(networks)}. A target is the condition that a model is tested under: digital weights, a memory device, "
        "or weight noise. All methods are tested on the same chips."
    )
    scale = f"Run {content.scale_note}: a smaller problem than that of the spec"
    have = "has" if content.missing == 1 else "have"
    unfinished = f"Unfinished: {content.missing} of {trials} models {have} no complete result yet."
    failed = f"{len(content.failures)} of {trials} models failed, see [Failed models](#failed)."
    again = f"{unfinished} Run the same command again to continue."
    warnings = {f"{scale}.": content.scale_note, again: content.missing, failed: content.failures}
    ranks = terms.ranks(content.baselines, same_images=text.has_different_images(spec))
    meanings = [terms.MEAN, terms.SD_NOISE, terms.SD_SEED, terms.interval(content.estimates.values())]
    meanings += [ranks] if content.estimates else []
    meanings += [terms.settled(content.comparison_count)] if content.comparisons else []
    return [
        Prose(spec.question, "question"),
        Prose(summary),
        *(Prose(warning, "warning") for warning, applies in warnings.items() if applies),
        Bullets(meanings, "note", "Terms", id="terms"),
    ]


def accuracy(content: ComparisonContent) -> Section:
    """Show the accuracy of each method on each target."""
    note = (
        "Each cell: mean accuracy [%], 95 % interval, and standard deviations sd_noise · sd_seed; see [Terms](#terms). "
    )
    sampling = terms.sampling_note([count for _, count in content.images], content.sampling_half_widths)
    by_target = Figure(
        partial(figures.accuracy_by_target, content),
        "Accuracy of each method on each target",
        "Accuracy by target, with 95 % intervals.",
    )
    by_sigma = Figure(
        partial(figures.accuracy_by_sigma, content),
        "Accuracy over the strength of Gaussian weight noise",
        "Accuracy under Gaussian weight noise of increasing strength, with 95 % intervals. All strengths use the same "
        "random draws, scaled.",
    )
    blocks: list[Block | None] = [
        Filters(content.results.spec.labels, list(content.targets)),
        *_target_tables(content, "Accuracy", partial(_accuracy_cell, content)),
        Prose(f"{note} {sampling or ''}".strip()) if content.estimates else None,
        Files(table_files.accuracy_files(content)),
        Grid([by_target, by_sigma]),
    ]
    return Section("Accuracy", blocks)


def metrics(content: ComparisonContent) -> Section | None:
    """Show the further metrics of each method on each target."""
    parts = [
        Section(name, _target_tables(content, name, partial(_metric_cell, content, name))) for name in content.metrics
    ]
    note = Prose("Each cell: mean and 95 % interval, over the same models and chips as those of the accuracy.")
    return Section("Further metrics", [note, *parts]) if parts else None


def _target_tables(content: ComparisonContent, name: str, cell: Callable[[str, str], str | Cell]) -> list[Table]:
    """Tables with a row per method and a column per target; `cell` is a function of both."""
    splits = {name: target.split for name, target in content.targets.items()}
    heads = {name: name if split == "test" else f"{name}\non {split} images" for name, split in splits.items()}
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
            "accuracy",
            across="target",
        )
        for targets in content.target_groups
    ]


def _accuracy_cell(content: ComparisonContent, method: str, target: str) -> str | Cell:
    ranking = content.rankings[target].get(method)
    if ranking is None:
        return MISSING
    estimate, seeds = ranking.estimate, len(content.results.spec.train_seeds)
    lines = [
        format_number(estimate.mean),
        format_ci(estimate),
        f"sd {format_number(estimate.sd_noise)} · {format_number(estimate.sd_seed)}",
        f"{estimate.seeds} of {seeds} models" if estimate.seeds < seeds else "",
    ]
    mark: Literal["best", "above", ""] = "best" if ranking.is_best else "above" if ranking.status == "above" else ""
    return Cell("\n".join(lines), mark, estimate.mean, ranking.tags)


def _metric_cell(content: ComparisonContent, name: str, method: str, target: str) -> str | Cell:
    estimate = content.estimates.get((method, target))
    if estimate is None or (cell := metric_text(estimate, name)) == MISSING:
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
    return Section(f"{name}, on {spec.split} images", blocks)


def failures(content: ComparisonContent) -> Section | None:
    """List the models that failed."""
    items = [f"`{trial}`: {reason}" for trial, reason in content.failures.items()]
    return Section("Failed models", [Bullets(items)], id="failed") if items else None


def compensation(content: ComparisonContent) -> Section | None:
    """Compare each device with and without its digital compensation."""
    crossbars = [target for target in content.targets.values() if isinstance(target, CrossbarTarget)]
    names = {target.name: " and ".join(target.deployment.compensation) for target in crossbars}

    def accuracy_text(key: Key) -> str:
        return f"{format_number(content.estimates[key].mean)} {format_ci(content.estimates[key])}"

    rows = [
        [
            ("target", before[1]),
            ("method", before[0]),
            ("without [%]", accuracy_text(before)),
            ("with [%]", accuracy_text(after)),
            ("difference", text.format_comparison(content.comparisons[after, before])),
            ("compensation", names[after[1]]),
        ]
        for after, before in compensation_pairs(content.estimates, content.results.spec.labels, crossbars)
    ]
    note = Prose("Digital corrections, compared with the same chips without them. settled: see [Terms](#terms).")
    return Section("Compensation", [note, Table("Compensation", rows)]) if rows else None


def devices(content: ComparisonContent) -> Section | None:
    """Describe the devices; those that only add a compensation are left out."""
    groups = [[t] for t in content.targets.values() if isinstance(t, CrossbarTarget) and t.corrects is None]
    results = content.results
    return device_section.device_section(groups, results.coverage, partial(device_section.widest_ranges, results))


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
