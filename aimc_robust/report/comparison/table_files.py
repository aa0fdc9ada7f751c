"""The report's tables as files: CSV for programs, Markdown for notes, LaTeX for papers."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterable, Sequence

from aimc_robust.analysis.landscape import Landscape
from aimc_robust.report.comparison.content import Content
from aimc_robust.report.comparison.landscapes import SurfacesByMethod, rows_of
from aimc_robust.report.comparison.paper_table import Entry, PaperTable
from aimc_robust.report.formatting import number, spread

Cells = Sequence[str]
LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "[": "{[}", **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "–": "--", "×": r"$\times$", "±": r"$\pm$", "−": "$-$",
    "µ": r"$\mu$", "σ": r"$\sigma$", "ρ": r"$\rho$", "λ": r"$\lambda$",
}  # fmt: skip


def tables(content: Content) -> dict[str, str]:
    """File name -> text of every table of the report."""
    found = {f"tables/accuracy.{kind}": made(content) for kind, made in ACCURACY.items()}
    for name, surfaces in content.landscapes.items():
        found[f"tables/landscape-{name}.csv"] = landscape_csv(content.store.landscapes[name].landscape, surfaces)
    if content.paper is not None:
        found |= {f"tables/paper.{kind}": made(content.paper) for kind, made in PAPER.items()}
    return found


def accuracy_csv(content: Content) -> str:
    """Methods x targets; for each target mean, sd_noise, sd_seed and the 95 % interval [percent]."""
    parts = ("", " sd_noise", " sd_seed", " ci_low", " ci_high")
    rows = [["method", *(f"{target}{part}" for target in content.targets for part in parts)]]
    for method in content.store.spec.labels:
        found = [content.estimates.get((method, target)) for target in content.targets]
        values = [(e.mean, e.sd_noise, e.sd_seed, *e.ci) if e is not None else (None,) * len(parts) for e in found]
        rows.append([method, *(_plain(value) for five in values for value in five)])
    return _csv(rows)


def accuracy_markdown(content: Content) -> str:
    """Methods x targets; a cell is mean ± sd_noise ± sd_seed, the best of its column in bold."""

    def cell(method: str, target: str) -> str:
        standing = content.rankings[target].get(method)
        if standing is None:
            return "–"
        e = standing.estimate
        mean = f"**{number(e.mean)}**" if standing.place == "best" else number(e.mean)
        return mean + spread(e.sd_noise, e.sd_seed)

    return _markdown(["method", *content.targets], _by_method(content, cell))


def accuracy_latex(content: Content) -> str:
    """The same as a tabular of booktabs."""

    def cell(method: str, target: str) -> str:
        standing = content.rankings[target].get(method)
        return "--" if standing is None else _latex_value(standing.estimate, bold=standing.place == "best")

    rows = [[latex(method), *cells] for method, *cells in _by_method(content, cell)]
    return _tabular(["method", *content.targets], rows)


def landscape_csv(landscape: Landscape, surfaces: SurfacesByMethod) -> str:
    """A row per method and place: where it lies along the two directions, and the mean loss of so many models."""
    rows = [(method, models, *map(_plain, numbers)) for method, models, *numbers in surface_rows(landscape, surfaces)]
    return _csv([["method", "models", "first", "second", "loss"], *rows])


def paper_csv(table: PaperTable) -> str:
    """A row per cell: ours, the published figure, difference and whether it lies within both deviations."""
    heads = "row column target metric method ours sd_noise sd_seed published published_sd_noise published_sd_seed"
    rows = [[*heads.split(), "difference", "within"]]
    for entry in _entries(table):
        cell, ours, theirs = entry.cell, entry.ours, entry.cell.published
        method = (ours.label if ours else None) or "|".join(cell.methods)
        values = [getattr(side, key, None) for side in (ours, theirs) for key in ("value", "sd_noise", "sd_seed")]
        within = {None: "", True: "yes", False: "no"}[entry.within]
        names = [cell.row, cell.column, cell.target or "", cell.cost or cell.metric, method]
        rows.append([*names, *(_plain(value) for value in [*values, entry.difference]), within])
    return _csv(rows)


def paper_markdown(table: PaperTable) -> str:
    """The paper's layout; a cell is ours, the published figure in brackets, and the difference."""

    def cell(entry: Entry) -> str:
        text = measured_text(entry)
        if entry.cell.published is not None:
            text += f" ({published_text(entry)})"
        if entry.difference is not None:
            text += f" {entry.difference:+.{entry.digits}f}{within_text(entry)}"
        return text

    rows = [[entries[0].cell.row, *(cell(entry) for entry in entries)] for entries in table.entries]
    return _markdown(table.heads, rows)


def paper_latex(table: PaperTable) -> str:
    """The paper's layout as a tabular of booktabs: below each row of ours the published figures."""
    rows = []
    for entries in table.entries:
        ours = ["--" if e.ours is None else _latex_value(e.ours, digits=e.digits) for e in entries]
        theirs = [f"({_latex_value(e.cell.published, digits=e.digits)})" if e.cell.published else "" for e in entries]
        rows += [[latex(entries[0].cell.row), *ours]] + ([["", *theirs]] if any(theirs) else [])
    return _tabular(table.heads, rows)


def measured_text(entry: Entry) -> str:
    """Our figure with its deviations, as the paper writes them."""
    ours = entry.ours
    if ours is None:
        return "–"
    return number(ours.value, entry.digits) + spread(ours.sd_noise, ours.sd_seed, entry.digits) + _unit(entry)


def published_text(entry: Entry) -> str:
    """The published figure with the deviations that are given."""
    theirs = entry.cell.published
    if theirs is None:
        return ""
    return number(theirs.value, entry.digits) + spread(theirs.sd_noise, theirs.sd_seed, entry.digits) + _unit(entry)


def _unit(entry: Entry) -> str:
    return " ×" if entry.cell.cost else ""


def within_text(entry: Entry) -> str:
    """What the difference is to both deviations."""
    return {None: "", True: ", within both deviations", False: ", beyond both deviations"}[entry.within]


def latex(text: str) -> str:
    """Text with what LaTeX gives a meaning of its own, and signs that its fonts lack, written out."""
    return "".join(LATEX.get(sign, sign) for sign in text)


def _latex_value(figure: object, *, digits: int = 2, bold: bool = False) -> str:
    """$mean \\pm sd_noise \\pm sd_seed$ of an estimate, of ours or of a published figure."""
    value = getattr(figure, "mean", None) if hasattr(figure, "mean") else figure.value
    text = number(value, digits)
    text = rf"\mathbf{{{text}}}" if bold else text
    return f"${text}{spread(figure.sd_noise, figure.sd_seed, digits)}$".replace("±", r"\pm")


def _by_method(content: Content, cell: Callable[[str, str], str]) -> list[list[str]]:
    return [[method, *(cell(method, target) for target in content.targets)] for method in content.store.spec.labels]


def _entries(table: PaperTable) -> Iterable[Entry]:
    return (entry for row in table.entries for entry in row)


def _plain(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else repr(float(value))


def _csv(rows: Iterable[Cells]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


def _markdown(heads: Cells, rows: Iterable[Cells]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join("| " + " | ".join(re.sub(r"([|\\])", r"\\\1", cell) for cell in line) + " |\n" for line in lines)


def _tabular(heads: Cells, rows: Iterable[Cells]) -> str:
    r"""A tabular for a document with \usepackage{booktabs}. heads: plain text; rows: LaTeX."""
    lines = [r"\toprule", _line([latex(head) for head in heads]), r"\midrule", *map(_line, rows), r"\bottomrule"]
    begin = rf"\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}"
    return "\n".join([r"% needs \usepackage{booktabs}", begin, *lines, r"\end{tabular}", ""])


def _line(cells: Cells) -> str:
    return " & ".join(cells) + r" \\"


ACCURACY = {"csv": accuracy_csv, "md": accuracy_markdown, "tex": accuracy_latex}
PAPER = {"csv": paper_csv, "md": paper_markdown, "tex": paper_latex}
