"""Section of a comparison's page on the published table that it reproduces, and on the claims of its paper."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Literal

import pandas as pd

from aimc_robust.errors import exact_text
from aimc_robust.experiments.spec.comparison import ComparisonSpec
from aimc_robust.io.csv_text import csv_text
from aimc_robust.report.comparison.content import ComparisonContent
from aimc_robust.report.formatting import (
    MISSING,
    format_deviations,
    format_number,
    latex_table,
    latex_value,
)
from aimc_robust.report.markdown_page import markdown_table
from aimc_robust.report.metric_text import difference_text, interval_text
from aimc_robust.report.page_model import Block, Bullets, Cell, Files, Prose, Row, Section, Table
from aimc_robust.statistics.estimate import Estimate
from aimc_robust.statistics.paired_difference import Key

from .claims import HELD, NOT_HELD, NOT_SETTLED, ClaimResult, check_claims, claim_pairs
from .layout import Layout, read_layout
from .measured import Entry, MeasuredValue, measured_entries
from .values import PublishedValue

Mark = Literal["", "within", "beyond"]
MARKS: dict[bool | None, Mark] = {None: "", True: "within", False: "beyond"}
Entries = Sequence[Sequence[Entry]]


def published_table(content: ComparisonContent) -> Section:
    """Show our values beside those of the published table of the spec's name, and what became of the paper's claims."""
    return table_section(content, read_layout(content.results.spec.name))


def _pairs(spec: ComparisonSpec, estimates: Mapping[Key, Estimate]) -> Iterator[tuple[Key, Key]]:
    return claim_pairs(read_layout(spec.name).build_claims(spec.labels), spec, estimates)


published_table.pairs = _pairs  # type: ignore[attr-defined]  # what the page corrects for, see docs/how-to/extend.md


def table_section(content: ComparisonContent, layout: Layout) -> Section:
    """Show our values beside those of a published table.

    Args:
        content: What the report states.
        layout: The published table.

    Raises:
        AimcError: If the layout does not fit the comparison.
    """
    spec = content.results.spec
    if spec.scale is None:
        layout.check_references(spec.labels, list(content.targets))
    entries = measured_entries(layout, spec.labels, content.estimates, content.costs)
    claims = check_claims(
        layout.build_claims(spec.labels), spec, content.estimates, content.comparisons, layout.smallest_lead
    )
    tested = [entry.within for row in entries for entry in row if entry.within is not None]
    count = f" {sum(tested)} of {len(tested)} differences are within." if tested else ""
    scale = "This run is smaller than the paper's. Compare trends with the published values, not the values themselves."
    note = (
        "Each cell: the value measured here as mean ± sd_noise ± sd_seed (see [Terms](#terms); a deviation without "
        "repetitions is left out), the published value, and the difference measured − published. **within**: the "
        "absolute difference is at most the combined standard deviation, the root of the sum of squares of sd_noise "
        f"and sd_seed of both sides. **beyond**: it is larger.{count} A method name below a value: the cell stands "
        "for several methods; as in the paper, it shows the one that is best in this very value."
    )
    rows: list[Row] = [
        list(zip(layout.column_titles, [row[0].cell.row, *map(_cell, row)], strict=True)) for row in entries
    ]
    files: dict[str, Callable[[], str]] = {
        "tables/paper.csv": partial(_csv, entries),
        "tables/paper.md": lambda: markdown_table(rows) + "\n",
        "tables/paper.tex": partial(_latex, layout, entries),
    }
    blocks: list[Block | None] = [
        layout.caption or None,
        Prose(scale, "warning") if content.scale_note else None,
        Table(layout.place, rows, "paper"),
        Prose(note),
        Files(files),
        _claims(claims, layout.smallest_lead),
        _open_points(layout),
    ]
    return Section(f"{layout.place} of {layout.citation}", blocks, id="paper")


def _open_points(layout: Layout) -> Section | None:
    points = [f"{name}: {text}" for name, text in layout.open.items()]
    blocks: list[Block | None] = [Prose("Each with the choice made here."), Bullets(points)]
    return Section("Details that the paper does not specify", blocks) if points else None


def _claims(claims: list[ClaimResult], smallest_lead: float) -> Section | None:
    marks: dict[str, Mark] = {HELD: "within", NOT_HELD: "beyond"}
    rows: list[Row] = [
        [
            ("claim", claim.text),
            ("result here", Cell(f"**{claim.state}**\n{claim.reason}".rstrip(), marks.get(claim.state, ""))),
            ("difference\ncorrected interval", _evidence(claim)),
        ]
        for claim in claims
    ]
    least = f", or contains 0 and ends below {exact_text(smallest_lead)} points" if smallest_lead else ""
    note = (
        "Each claim says that one result is better than another. The difference between the two is paired over trained "
        "models and chips. Its interval is corrected for all comparisons of the page (Bonferroni), so that with 95 % "
        "confidence all verdicts are right. **held**: it lies above 0, by however little. **did not hold**: it lies "
        f"below 0{least}. **not settled**: neither. For a loss, lower is better. If a claim names several methods, the "
        "best of them is compared, or the worst where the claim is of all of them; the correction includes every "
        "method that could have been the best or the worst."
    )
    counts = [sum(claim.state == state for claim in claims) for state in (HELD, NOT_HELD, NOT_SETTLED)]
    counted = "1 claim" if len(claims) == 1 else f"{len(claims)} claims"
    summary = f"{counted}: {counts[0]} held, {counts[1]} did not hold, {counts[2]} not settled."
    table = Table("Claims of the paper", rows, "claims", heads=0)
    return Section("Claims of the paper", [Prose(summary), table, Prose(note)]) if rows else None


def _evidence(claim: ClaimResult) -> str:
    """The difference that a claim's result rests on with its corrected interval; and the means of both sides."""
    evidence, means = "", ""
    if claim.difference is not None:
        metric, interval = claim.difference.metric, claim.interval or (math.nan, math.nan)
        evidence = f"{difference_text(metric, claim.difference.mean, sign=True)} {interval_text(metric, *interval)}"
        evidence = f"{evidence.rstrip()} over {claim.difference.covers}"
    if claim.better is not None and claim.than is not None and claim.estimates is not None:
        sides = zip((claim.better, claim.than), claim.estimates, strict=True)
        means = ", ".join(f"{_key_text(key)} {estimate.metric.text(estimate.mean)}" for key, estimate in sides)
    return f"{evidence}\n{means}".strip()


def _key_text(key: Key) -> str:
    label, target = key  # "loss on TARGET" of another metric than accuracy
    return f"{label}: {target}" if " on " in target else f"{label} on {target}"


def _cell(entry: Entry) -> Cell:
    measured, published = entry.measured, entry.cell.published
    lines = [MISSING if measured is None else _value_text(measured, entry)]
    lines.append("" if published is None else f"paper {_value_text(published, entry)}")
    lines.append("" if entry.difference is None else f"{entry.difference:+.{entry.digits}f} {MARKS[entry.within]}")
    lines.append((measured.label if measured else None) or "")
    return Cell("\n".join(lines), MARKS[entry.within], measured.value if measured else None)


def _value_text(value: MeasuredValue | PublishedValue, entry: Entry) -> str:
    number = partial(format_number, digits=entry.digits)
    deviations = format_deviations(value.sd_noise, value.sd_seed, number)
    return number(value.value) + deviations + (" ×" if entry.cell.cost else "")


def _csv(entries: Entries) -> str:
    """A row per cell with the measured value, the published one and the difference."""
    names = ("ours", "sd_noise", "sd_seed", "published", "published_sd_noise", "published_sd_seed")
    rows = []
    for entry in (entry for line in entries for entry in line):
        cell, measured = entry.cell, entry.measured
        row = {"row": cell.row, "column": cell.column, "target": cell.target or "", "metric": cell.cost or cell.metric}
        row["method"] = (measured.label if measured else None) or "|".join(cell.methods)
        numbers = dict(zip(names, _values(measured) + _values(cell.published), strict=True))
        within = {None: "", True: "yes", False: "no"}[entry.within]
        rows.append(row | numbers | {"difference": entry.difference, "within": within})
    return csv_text(pd.DataFrame(rows))


def _latex(layout: Layout, entries: Entries) -> str:
    """Below each row of measured values the published ones."""

    def text(entry: Entry, value: MeasuredValue | PublishedValue) -> str:
        return latex_value(*_values(value), number=partial(format_number, digits=entry.digits))

    rows: list[tuple[str, list[str]]] = []
    for line in entries:
        ours = ["--" if e.measured is None else text(e, e.measured) for e in line]
        published = ["" if e.cell.published is None else f"({text(e, e.cell.published)})" for e in line]
        rows.append((line[0].cell.row, ours))
        if any(published):
            rows.append(("", published))
    return latex_table(layout.column_titles, rows)


def _values(value: MeasuredValue | PublishedValue | None) -> tuple[float | None, float | None, float | None]:
    return (None, None, None) if value is None else (value.value, value.sd_noise, value.sd_seed)
