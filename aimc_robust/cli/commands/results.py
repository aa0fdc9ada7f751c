"""The commands on results folders: `report`, `merge` and `pack`."""

from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Annotated

import typer

from aimc_robust.cli.results_location import is_store, reading, writing


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
    from aimc_robust.experiments.results.remote_folder import fetched_and_sent

    with fetched_and_sent(folder) if is_store(folder) else nullcontext(Path(folder)) as local:
        page = _write_report(local)
    shown = f"{folder.rstrip('/')}/{page.name}" if is_store(folder) else page
    typer.echo(f"report: {shown}")


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
        list[str],
        typer.Argument(metavar="DIR|URL DIR|URL...", help="Results folders of the same comparison, or object stores."),
    ],
    out: Annotated[
        str,
        typer.Option(
            metavar="DIR|URL", help="Folder or object store for the merged results: a new one, or one of those given."
        ),
    ],
) -> None:
    """Merge results of the same comparison from several machines, and write their tables and report.

    If several folders hold the same trial, the finished training is kept, else the one with the most epochs;
    `compare` continues from it.

    Example: aimc-robust merge results/laptop results/server --out results/table1
    """
    from aimc_robust.experiments.results.merge import merge as merge_folders
    from aimc_robust.report.write import write_report

    with ExitStack() as stack:
        sources = [
            stack.enter_context(reading(folder, weights=True, idle=True))
            for folder in folders
            if not is_store(folder) or folder.rstrip("/") != out.rstrip("/")
        ]
        target = stack.enter_context(writing(out, may_be_empty=True))  # merged with what it holds
        merged = merge_folders(sources, target)
        report = write_report(target)
    typer.echo(
        f"{merged.finished} of {len(merged.results.trials)} models trained"
        f"{f', {merged.unfinished} started or failed' if merged.unfinished else ''}; {merged.rows} evaluation rows."
    )
    typer.echo(f"report: {report}{f', also in {out}' if is_store(out) else ''}")


def pack(
    folder: Annotated[
        str,
        typer.Argument(metavar="FOLDER|URL", help="Results folder of `compare`, with its report, or an object store."),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write, such as benchmarks/results/NAME.")],
) -> None:
    """Copy spec, environment, summary and report of FOLDER, with all rows in one compressed file.

    Trained weights are left out. `aimc-robust report OUT` writes tables, figures and pages again.

    Example: aimc-robust pack results/table1 --out benchmarks/results/table1
    """
    from aimc_robust.experiments.results.archive import pack as pack_folder

    with reading(folder) as local:
        typer.echo(f"rows: {pack_folder(local, out)}")
