"""Output of `evaluate`: the table of results."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from aimc_robust.experiments.results.evaluation import EvaluationResults
from aimc_robust.experiments.results.summary import summary_table
from aimc_robust.experiments.spec.evaluation import EvaluationSpec
from aimc_robust.report.formatting import MISSING, chips_text, format_interval, format_number

FILE_WIDTH = 200  # width of a table that is written to a file or pipe, where nothing needs to wrap [characters]


def show(results: EvaluationResults) -> None:
    """Print the accuracies of all models and targets in percent."""
    spec = results.spec
    summary = summary_table(results.estimates(), threshold=spec.threshold)
    table = Table(title=f"Accuracy [%] on {spec.images.count} images", title_justify="left", box=None, pad_edge=False)
    has_seeds = bool((summary["models"] > 1).any())
    columns = ["model", "target", "mean", "95 % interval", "sd_noise", *(["sd_seed"] if has_seeds else [])]
    columns += ["5 %\nquantile", "worst", *([] if spec.threshold is None else [f">= {spec.threshold:g}"]), "chips"]
    for column in columns:
        if column in ("model", "target"):
            table.add_column(column, overflow="fold", justify="left")
        else:
            table.add_column(column, overflow="fold", justify="right", no_wrap=True)
    for row in summary.to_dict("records"):
        table.add_row(*_cells(row, spec, has_seeds=has_seeds))
    console = Console()
    (console if console.is_terminal else Console(width=FILE_WIDTH)).print(table)
    if len(summary):
        console.print(
            f"Another test set of {spec.images.count} images would change an accuracy by up to "
            f"±{format_number(summary['sampling'].max())} points (95 %).",
            highlight=False,
            soft_wrap=True,
        )


def _cells(row: Mapping[str, Any], spec: EvaluationSpec, *, has_seeds: bool) -> list[str]:
    cells = [row["model"], row["target"], format_number(row["mean"]), format_interval(row["ci_low"], row["ci_high"], 2)]
    cells += [format_number(row["sd_noise"]), *([format_number(row["sd_seed"])] if has_seeds else [])]
    cells += [format_number(row["quantile_05"]), format_number(row["worst"])]
    if spec.threshold is not None:
        interval = format_interval(row["yield_low"], row["yield_high"], 0) or MISSING
        cells.append(f"{format_number(row['yield'], 0)} {interval}")
    return [*cells, chips_text(row, spec.precision)]
