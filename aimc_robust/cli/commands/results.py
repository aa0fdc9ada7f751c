"""The commands on results folders: `report`, `merge` and `pack`."""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from aimc_robust.io.object_store import is_url


def report(
    folder: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER|URL",
            help="Results folder of `compare` or `evaluate`, finished or not, or an object store such as s3://bucket/path.",
        ),
    ],
) -> None:
    """Write tables and report of FOLDER again from its rows.

    Example: aimc-robust report results/quickstart
    """
    from aimc_robust.experiments.results.remote_folder import fetched

    with fetched(folder) if is_url(folder) else nullcontext(Path(folder)) as local:
        page = _write_report(local)
    typer.echo(f"report: {f'{folder}/{page.name}' if is_url(folder) else page}")


def _write_report(folder: Path) -> Path:
    from aimc_robust.experiments.results.comparison import ComparisonResults
    from aimc_robust.experiments.results.files import QUESTION, read_file
    from aimc_robust.report.write import write_report

    page = write_report(folder)
    if read_file(folder / QUESTION)["kind"] == ComparisonResults.kind:
        results = ComparisonResults.open(folder)
        unfinished = sum(not results.is_evaluated(trial) for trial in results.trials)
        if unfinished:
            models = f"{unfinished} of {len(results.trials)} models"
            typer.echo(f"note: {models} without all their results; `compare` continues them.", err=True)
    return page


def merge(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR DIR...", help="Results folders of the same comparison.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the merged results: a new one, or one of those given.")],
) -> None:
    """Merge results of the same comparison from several machines, and write their tables and report.

    If several folders hold the same trial, the finished training is kept, else the one with the most epochs;
    `compare` continues from it.

    Example: aimc-robust merge results/laptop results/server --out results/table1
    """
    from aimc_robust.experiments.results.merge import merge as merge_folders
    from aimc_robust.report.write import write_report

    merged = merge_folders(folders, out)
    typer.echo(
        f"{merged.finished} of {len(merged.results.trials)} models trained"
        f"{f', {merged.unfinished} started or failed' if merged.unfinished else ''}; {merged.rows} evaluation rows."
    )
    typer.echo(f"report: {write_report(out)}")


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
