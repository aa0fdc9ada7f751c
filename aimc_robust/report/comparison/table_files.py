"""Tables of a comparison's report as files: CSV for programs, Markdown for notes, LaTeX for papers."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterable, Sequence

from aimc_robust.analysis.landscape import Landscape
from aimc_robust.experiments.spec.published_values import PublishedValue
from aimc_robust.report.comparison.content import ComparisonContent
from aimc_robust.report.comparison.landscapes import SurfacesByMethod, surface_rows
from aimc_robust.report.comparison.paper_table import MeasuredValue, PaperTable, PaperTableEntry
from aimc_robust.report.formatting import MISSING, format_deviations, format_number

Cells = Sequence[str]
LATEX_ESCAPES = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "[": "{[}", **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "–": "--", "×": r"$\times$", "±": r"$\pm$", "−": "$-$",
    "µ": r"$\mu$", "σ": r"$\sigma$", "ρ": r"$\rho$", "λ": r"$\lambda$",
}  # fmt: skip


def table_files(content: ComparisonContent) -> dict[str, str]:
    """Return every table of the report.

    Args:
        content: The content of the report.

    Returns:
        Path relative to the results folder -> text.
    """
    files = {
        "tables/accuracy.csv": accuracy_csv(content),
        "tables/accuracy.md": accuracy_markdown(content),
        "tables/accuracy.tex": accuracy_latex(content),
    }
    for name, surfaces in content.landscapes.items():
        grid = content.results.landscapes[name].grid
        files[f"tables/landscape-{name}.csv"] = landscape_csv(grid, surfaces)
    if content.paper is not None:
        files["tables/paper.csv"] = paper_csv(content.paper)
        files["tables/paper.md"] = paper_markdown(content.paper)
        files["tables/paper.tex"] = paper_latex(content.paper)
    return files


def accuracy_csv(content: ComparisonContent) -> str:
    """Return accuracies [percent] as CSV: a row per method; per target mean, sd_noise, sd_seed and 95 % interval."""
    suffixes = ("", " sd_noise", " sd_seed", " ci_low", " ci_high")
    rows = [["method", *(f"{target}{suffix}" for target in content.targets for suffix in suffixes)]]
    for method in content.results.spec.labels:
        row = [method]
        for target in content.targets:
            estimate = content.estimates.get((method, target))
            if estimate is None:
                row += [""] * len(suffixes)
            else:
                values = (estimate.mean, estimate.sd_noise, estimate.sd_seed, *estimate.ci)
                row += [_csv_number(value) for value in values]
        rows.append(row)
    return _csv(rows)


def accuracy_markdown(content: ComparisonContent) -> str:
    """Return the accuracies as Markdown: cells `mean ± sd_noise ± sd_seed`, the best of each column in bold."""

    def cell(method: str, target: str) -> str:
        ranking = content.rankings[target].get(method)
        if ranking is None:
            return MISSING
        estimate = ranking.estimate
        mean = format_number(estimate.mean)
        mean = f"**{mean}**" if ranking.is_best else mean
        return mean + format_deviations(estimate.sd_noise, estimate.sd_seed)

    return _markdown(["method", *content.targets], _method_rows(content, cell))


def accuracy_latex(content: ComparisonContent) -> str:
    """Return the table of `accuracy_markdown` as a LaTeX tabular with booktabs rules."""

    def cell(method: str, target: str) -> str:
        ranking = content.rankings[target].get(method)
        if ranking is None:
            return "--"
        estimate = ranking.estimate
        return _latex_value(estimate.mean, estimate.sd_noise, estimate.sd_seed, bold=ranking.is_best)

    rows = [[escape_latex(method), *cells] for method, *cells in _method_rows(content, cell)]
    return _tabular(["method", *content.targets], rows)


def landscape_csv(landscape: Landscape, surfaces: SurfacesByMethod) -> str:
    """Return a loss landscape as CSV: a row per method and point with its two coordinates and the mean loss."""
    rows: list[Cells] = [["method", "models", "first", "second", "loss"]]
    for method, models, *numbers in surface_rows(landscape, surfaces):
        rows.append([method, str(models), *map(_csv_number, numbers)])
    return _csv(rows)


def paper_csv(table: PaperTable) -> str:
    """Return the paper's table as CSV: a row per cell with the measured value, the published one and the difference."""
    header = "row column target metric method ours sd_noise sd_seed published published_sd_noise published_sd_seed"
    rows: list[Cells] = [[*header.split(), "difference", "within"]]
    for entry in (entry for row in table.entries for entry in row):
        cell, measured = entry.cell, entry.measured
        method = (measured.label if measured else None) or "|".join(cell.methods)
        values = [*_value_and_deviations(measured), *_value_and_deviations(cell.published), entry.difference]
        within = {None: "", True: "yes", False: "no"}[entry.within]
        names = [cell.row, cell.column, cell.target or "", cell.cost or cell.metric, method]
        rows.append([*names, *map(_csv_number, values), within])
    return _csv(rows)


def paper_markdown(table: PaperTable) -> str:
    """Return the paper's table as Markdown: cells `measured (published) difference`."""

    def cell(entry: PaperTableEntry) -> str:
        text = measured_text(entry)
        if entry.cell.published is not None:
            text += f" ({published_text(entry)})"
        if entry.difference is not None:
            text += f" {entry.difference:+.{entry.digits}f}{within_text(entry)}"
        return text

    rows = [[entries[0].cell.row, *(cell(entry) for entry in entries)] for entries in table.entries]
    return _markdown(table.column_titles, rows)


def paper_latex(table: PaperTable) -> str:
    """Return the paper's table as a LaTeX tabular: below each row of measured values the published ones."""
    rows: list[Cells] = []
    for entries in table.entries:
        measured, published = [], []
        for entry in entries:
            text = _latex_value(*_value_and_deviations(entry.measured), digits=entry.digits)
            measured.append("--" if entry.measured is None else text)
            text = _latex_value(*_value_and_deviations(entry.cell.published), digits=entry.digits)
            published.append("" if entry.cell.published is None else f"({text})")
        rows.append([escape_latex(entries[0].cell.row), *measured])
        if any(published):
            rows.append(["", *published])
    return _tabular(table.column_titles, rows)


def measured_text(entry: PaperTableEntry) -> str:
    """Format a measured value with its standard deviations."""
    measured = entry.measured
    return MISSING if measured is None else _value_text(measured, entry)


def published_text(entry: PaperTableEntry) -> str:
    """Format a published value with the standard deviations that the paper gives; empty without one."""
    published = entry.cell.published
    return "" if published is None else _value_text(published, entry)


def within_text(entry: PaperTableEntry) -> str:
    """Return whether a difference lies within the combined standard deviation, as the end of a table cell."""
    return {None: "", True: ", within both deviations", False: ", beyond both deviations"}[entry.within]


def escape_latex(text: str) -> str:
    """Escape LaTeX's special characters, and replace signs that its fonts lack."""
    return "".join(LATEX_ESCAPES.get(sign, sign) for sign in text)


def _value_text(value: MeasuredValue | PublishedValue, entry: PaperTableEntry) -> str:
    unit = " ×" if entry.cell.cost else ""
    number = format_number(value.value, entry.digits)
    return number + format_deviations(value.sd_noise, value.sd_seed, entry.digits) + unit


def _value_and_deviations(
    value: MeasuredValue | PublishedValue | None,
) -> tuple[float | None, float | None, float | None]:
    return (None, None, None) if value is None else (value.value, value.sd_noise, value.sd_seed)


def _latex_value(
    value: float | None, sd_noise: float | None, sd_seed: float | None, *, digits: int = 2, bold: bool = False
) -> str:
    r"""$mean \pm sd_noise \pm sd_seed$."""
    text = format_number(value, digits)
    text = rf"\mathbf{{{text}}}" if bold else text
    return f"${text}{format_deviations(sd_noise, sd_seed, digits)}$".replace("±", r"\pm")


def _method_rows(content: ComparisonContent, cell: Callable[[str, str], str]) -> list[list[str]]:
    return [[method, *(cell(method, target) for target in content.targets)] for method in content.results.spec.labels]


def _csv_number(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else repr(float(value))


def _csv(rows: Iterable[Cells]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


def _markdown(header: Cells, rows: Iterable[Cells]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(re.sub(r"([|\\])", r"\\\1", cell) for cell in line) + " |\n" for line in lines)


def _tabular(header: Cells, rows: Iterable[Cells]) -> str:
    r"""A tabular for a document with \usepackage{booktabs}. header: plain text; rows: LaTeX."""
    titles = [escape_latex(title) for title in header]
    lines = [r"\toprule", _latex_row(titles), r"\midrule", *map(_latex_row, rows), r"\bottomrule"]
    begin = rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}"
    return "\n".join([r"% needs \usepackage{booktabs}", begin, *lines, r"\end{tabular}", ""])


def _latex_row(cells: Cells) -> str:
    return " & ".join(cells) + r" \\"
