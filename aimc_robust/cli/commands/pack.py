"""The command `pack`: results small enough to keep under version control."""

from pathlib import Path
from typing import Annotated

import typer


def pack(
    folder: Annotated[Path, typer.Argument(help="Results folder of `compare`, with its report.")],
    out: Annotated[Path, typer.Option(help="Folder to write, such as benchmarks/results/NAME.")],
) -> None:
    """Copy spec, environment, summary and report of FOLDER, with all rows in one compressed file.

    Trained weights are left out. `aimc-robust report OUT` writes tables, figures and pages again.

    Example: aimc-robust pack results/table1 --out benchmarks/results/table1
    """
    from aimc_robust.experiments.results.archive import pack as pack_folder

    typer.echo(f"rows: {pack_folder(folder, out)}")
