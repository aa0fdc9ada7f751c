"""The command `merge`: one question's results, made on several machines."""

from pathlib import Path
from typing import Annotated

import typer


def merge(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR DIR...", help="Folders that `compare` wrote for the same question.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the joined results: a new one, or one of these, which gains.")],
) -> None:
    """Join the results of one question that were made on different machines, and write their tables and report.

    Of each model the finished training is taken, else the one with the most epochs, which `compare` then goes on from.

    Example: aimc-robust merge results/laptop results/server --out results/table1
    """
    from aimc_robust.experiments.results.merge import merge as join
    from aimc_robust.report.write import write_report

    merged = join(folders, out)
    models = len(merged.store.trials)
    started = len(merged.trials) - merged.finished
    typer.echo(
        f"{merged.finished} of {models} models trained{f', {started} started or failed' if started else ''}; "
        f"{merged.rows} evaluation rows."
    )
    typer.echo(f"report: {write_report(out)}")
