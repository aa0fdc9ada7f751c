"""Section of a comparison's page on the published table that it reproduces, and on the claims of its paper."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import pandas as pd

from aimc_robust.experiments.spec.published_values import PublishedValue
from aimc_robust.io.csv_text import csv_text
from aimc_robust.report.comparison.claims import HELD, NOT_HELD, ClaimResult
from aimc_robust.report.comparison.content import ComparisonContent
from aimc_robust.report.comparison.paper_table import MeasuredValue, PaperTable, PaperTableEntry
from aimc_robust.report.formatting import MISSING, format_deviations, format_interval, format_number
from aimc_robust.report.latex import latex_table, latex_value
from aimc_robust.report.markdown_page import markdown_table
from aimc_robust.report.page_model import Block, Bullets, Cell, Files, Prose, Row, Section, Table

Mark = Literal["", "within", "beyond"]
MARKS: dict[bool | None, Mark] = {None: "", True: "within", False: "beyond"}


def paper(content: ComparisonContent) -> Section | None:
    """Show our values beside the published ones, and what became of the paper's claims."""
    table = content.paper
    if table is None:
        return None
    spec, (within, tested) = table.spec, table.within_counts
    count = f" {within} of {tested} differences are within." if tested else ""
    note = (
        "Each cell: the value measured here as mean ± sd_noise ± sd_seed (see [Terms](#terms); a deviation without "
        "repetitions is left out), the published value, and the difference measured − published. **within**: the "
        "absolute difference is at most the combined standard deviation, the root of the sum of squares of sd_noise "
        f"and sd_seed of both sides. **beyond**: it is larger.{count} A method name below a value: the cell stands "
        "for several methods; as in the paper, it shows the one that is best in this very value."
    )
    rows: list[Row] = [
        list(zip(table.column_titles, [entries[0].cell.row, *map(_cell, entries)], strict=True))
        for entries in table.entries
    ]
    files: dict[str, Callable[[], str]] = {
        "tables/paper.csv": partial(_csv, table),
        "tables/paper.md": lambda: markdown_table(rows) + "\n",
        "tables/paper.tex": partial(_latex, table),
    }
    blocks: list[Block | None] = [
        Table(spec.place, rows, "paper"),
        Prose(note),
        Files(files),
        _claims(content.claims),
        _open_points(table),
    ]
    return Section(f"{spec.place} of {spec.citation}", [spec.caption or None, *blocks], id="paper")


def _open_points(table: PaperTable) -> Section | None:
    blocks: list[Block | None] = [Prose("Each with the choice made here."), Bullets(table.open_points)]
    return Section("Details that the paper does not specify", blocks) if table.open_points else None


def _claims(claims: list[ClaimResult]) -> Section | None:
    marks: dict[str, Mark] = {HELD: "within", NOT_HELD: "beyond"}
    rows: list[Row] = [
        [
            ("claim", claim.text),
            ("result here", Cell(f"**{claim.state}**", marks.get(claim.state, ""))),
            ("difference\n95 % interval", _evidence(claim)),
        ]
        for claim in claims
    ]
    note = (
        "Each claim says that one result is higher than another. The difference between the two is paired over trained "
        "models and chips. **held**: it is settled and positive; **did not hold**: it is settled and negative; **not "
        "settled**: neither. If a claim names several methods, the best of them is compared. See [Terms](#terms) for "
        "**settled**: the correction includes every method that could have been the best."
    )
    table = Table("Claims of the paper", rows, "claims", heads=0)
    return Section("Claims of the paper", [table, Prose(note)]) if rows else None


def _evidence(claim: ClaimResult) -> str:
    """The difference that a claim's result rests on, or why there is none; and the means of both sides."""
    evidence, means = claim.reason, ""
    if claim.difference is not None and claim.ci is not None:
        evidence = f"{claim.difference:+.2f} points {format_interval(*claim.ci, 2)} over {claim.covers}"
    if claim.better is not None and claim.than is not None and claim.means is not None:
        sides = zip((claim.better, claim.than), claim.means, strict=True)
        means = ", ".join(f"{label} on {target} {mean:.2f} %" for (label, target), mean in sides)
    return f"{evidence}\n{means}"


def _cell(entry: PaperTableEntry) -> Cell:
    measured, published = entry.measured, entry.cell.published
    lines = [MISSING if measured is None else _value_text(measured, entry)]
    lines.append("" if published is None else f"paper {_value_text(published, entry)}")
    lines.append("" if entry.difference is None else f"{entry.difference:+.{entry.digits}f} {MARKS[entry.within]}")
    lines.append((measured.label if measured else None) or "")
    return Cell("\n".join(lines), MARKS[entry.within], measured.value if measured else None)


def _value_text(value: MeasuredValue | PublishedValue, entry: PaperTableEntry) -> str:
    number = format_number(value.value, entry.digits)
    return number + format_deviations(value.sd_noise, value.sd_seed, entry.digits) + (" ×" if entry.cell.cost else "")


def _csv(table: PaperTable) -> str:
    """A row per cell with the measured value, the published one and the difference."""
    names = ("ours", "sd_noise", "sd_seed", "published", "published_sd_noise", "published_sd_seed")
    rows = []
    for entry in (entry for row in table.entries for entry in row):
        cell, measured = entry.cell, entry.measured
        row = {"row": cell.row, "column": cell.column, "target": cell.target or "", "metric": cell.cost or cell.metric}
        row["method"] = (measured.label if measured else None) or "|".join(cell.methods)
        numbers = dict(zip(names, _values(measured) + _values(cell.published), strict=True))
        within = {None: "", True: "yes", False: "no"}[entry.within]
        rows.append(row | numbers | {"difference": entry.difference, "within": within})
    return csv_text(pd.DataFrame(rows))


def _latex(table: PaperTable) -> str:
    """Below each row of measured values the published ones."""
    rows: list[tuple[str, list[str]]] = []
    for entries in table.entries:
        ours = ["--" if e.measured is None else latex_value(*_values(e.measured), digits=e.digits) for e in entries]
        published = [
            "" if e.cell.published is None else f"({latex_value(*_values(e.cell.published), digits=e.digits)})"
            for e in entries
        ]
        rows.append((entries[0].cell.row, ours))
        if any(published):
            rows.append(("", published))
    return latex_table(table.column_titles, rows)


def _values(value: MeasuredValue | PublishedValue | None) -> tuple[float | None, float | None, float | None]:
    return (None, None, None) if value is None else (value.value, value.sd_noise, value.sd_seed)
