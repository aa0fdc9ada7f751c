"""Output of `analyze`: a table with a row for each trained model."""

from collections.abc import Mapping

from aimc_robust.cli.printed_table import print_table
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.io.atomic import Row


def show(rows: Mapping[Trial, Row]) -> None:
    """Print loss, sharpness and the leading eigenvalues, with the bound of the error of the largest."""
    columns = ("model", "loss", "average sharpness", "ascent sharpness", "largest eigenvalues", "trace")
    table = []
    for trial, row in rows.items():
        first, *others = row["eigenvalues"]
        values = ", ".join([f"{first:.4g} ± {row['errors'][0]:.1g}", *(f"{value:.4g}" for value in others)])
        measured = [_number(row[key]) for key in ("loss", "average_sharpness", "ascent_sharpness")]
        table.append(dict(zip(columns, (str(trial), *measured, values, _number(row["trace"])), strict=True)))
    print_table(table)


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4g}"
