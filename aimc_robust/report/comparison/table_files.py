"""Tables of a comparison as files: CSV for programs, Markdown for notes, LaTeX for papers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pandas as pd

from aimc_robust.analysis.landscape import Landscape
from aimc_robust.experiments.results.summary import summary_table
from aimc_robust.io.csv_text import csv_text
from aimc_robust.plot.labels import unit_in_brackets
from aimc_robust.report.comparison.content import ComparisonContent
from aimc_robust.report.comparison.landscapes import SurfacesByMethod
from aimc_robust.report.comparison.rankings import Ranking, Status
from aimc_robust.report.formatting import MISSING, escape_latex, format_deviations, latex_table, latex_value
from aimc_robust.report.markdown_page import markdown_table
from aimc_robust.report.metric_text import best_mean, format_value, heading
from aimc_robust.statistics.paired_difference import comparison_table

ARROWS: dict[Status, str] = {"better": " ↑", "worse": " ↓"}
FileFunctions = dict[str, Callable[[], str]]
"""Path relative to the results folder -> its content."""


def estimate_files(content: ComparisonContent) -> FileFunctions:
    """Return the estimates as files: a row per method and target, and a wide table in three formats."""
    return {
        "summary.csv": lambda: csv_text(summary_table(content.estimates)),
        f"tables/{content.metric.name}.csv": lambda: csv_text(_wide_table(content)),
        f"tables/{content.metric.name}.md": lambda: _markdown(content),
        f"tables/{content.metric.name}.tex": lambda: _latex(content),
    }


def difference_files(content: ComparisonContent) -> FileFunctions:
    """Return every comparison of the page as a file; p values are corrected over its rows."""
    return {"tables/differences.csv": lambda: csv_text(comparison_table(content.comparisons))}


def landscape_files(name: str, landscape: Landscape, surfaces: SurfacesByMethod) -> FileFunctions:
    """Return a loss landscape as CSV: a row per method and point with its two coordinates and the mean loss."""
    columns = ["method", "models", "first", "second", "loss"]
    rows = [
        (method, surface.models, *landscape.coordinates(number), float(loss))
        for method, surface in surfaces.items()
        for number, loss in enumerate(surface.loss.ravel())
    ]
    return {f"tables/landscape-{name}.csv": lambda: csv_text(pd.DataFrame(rows, columns=columns))}


def _wide_table(content: ComparisonContent) -> pd.DataFrame:
    """A row per method; per target mean, sd_noise, sd_seed and 95 % interval."""
    suffixes = ("", " sd_noise", " sd_seed", " ci_low", " ci_high")
    columns = ["method", *(f"{target}{suffix}" for target in content.targets for suffix in suffixes)]
    rows: list[dict[str, Any]] = [{"method": method} for method in content.results.spec.labels]
    for row in rows:
        for target in content.targets:
            estimate = content.estimates.get((row["method"], target))
            if estimate is not None:
                values = (estimate.mean, estimate.sd_noise, estimate.sd_seed, *estimate.ci)
                row |= {f"{target}{suffix}": value for suffix, value in zip(suffixes, values, strict=True)}
    return pd.DataFrame(rows, columns=columns)


def _markdown(content: ComparisonContent) -> str:
    """Cells `mean ± sd_noise ± sd_seed`, the best of each column in bold, settled ones with an arrow."""
    number = partial(format_value, content.metric)

    def cell(ranking: Ranking) -> str:
        mean = f"**{number(ranking.estimate.mean)}**" if ranking.is_best else number(ranking.estimate.mean)
        deviations = format_deviations(ranking.estimate.sd_noise, ranking.estimate.sd_seed, number, every=True)
        return mean + deviations + ARROWS.get(ranking.status, "")

    rows = [[("method", method), *cells.items()] for method, cells in _cells(content, cell, MISSING).items()]
    return f"{markdown_table(rows)}\n\n{_caption(content)}\n"


def _latex(content: ComparisonContent) -> str:
    """The table of `_markdown`."""
    number = partial(format_value, content.metric)

    def cell(ranking: Ranking) -> str:
        estimate, options = ranking.estimate, {"bold": ranking.is_best, "every": True}
        value = latex_value(estimate.mean, estimate.sd_noise, estimate.sd_seed, number=number, **options)
        return f"{value} {escape_latex(ARROWS.get(ranking.status, ''))}".rstrip()

    rows = [(method, list(cells.values())) for method, cells in _cells(content, cell, "--").items()]
    return f"% {_caption(content)}\n{latex_table(['method', *content.rankings], rows)}"


def _caption(content: ComparisonContent) -> str:
    """What the cells of both tables are."""
    arrows = f" ↑, ↓: settled to be better, worse than the baseline ({', '.join(content.baselines)})."
    return (
        f"{heading(content.metric)}{unit_in_brackets(content.metric.unit)}: mean ± sd_noise (over chips) ± sd_seed "
        f"(over trained models); {MISSING}: no repetitions. Bold: {best_mean(content.metric)}."
        f"{arrows if content.baselines else ''}"
    )


def _cells(content: ComparisonContent, cell: Callable[[Ranking], str], missing: str) -> dict[str, dict[str, str]]:
    """Method -> target -> text."""
    return {
        method: {
            target: cell(ranks[method]) if method in ranks else missing for target, ranks in content.rankings.items()
        }
        for method in content.results.spec.labels
    }
