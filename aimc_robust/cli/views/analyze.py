"""Output of `analyze`: a table with a row for each trained model."""

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from aimc_robust.experiments.results.trial import Trial
from aimc_robust.io.atomic import Row


def show(rows: Mapping[Trial, Row]) -> None:
    """Print loss, sharpness and the leading eigenvalues, with the bound of the error of the largest."""
    table = Table(box=None, pad_edge=False)
    for column in ("model", "loss", "average sharpness", "ascent sharpness", "largest eigenvalues", "trace"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for trial, row in rows.items():
        first, *others = row["eigenvalues"]
        values = ", ".join([f"{first:.4g} ± {row['errors'][0]:.1g}", *(f"{value:.4g}" for value in others)])
        measured = [_number(row[key]) for key in ("loss", "average_sharpness", "ascent_sharpness")]
        table.add_row(str(trial), *measured, values, _number(row["trace"]))
    console = Console()
    (console if console.is_terminal else Console(width=160)).print(table, markup=False, highlight=False)


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4g}"
