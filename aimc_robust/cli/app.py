"""The commands. torch and the rest are imported inside them, so that `--help` answers at once."""

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer  # commands, options and help texts from function signatures

from aimc_robust import __version__
from aimc_robust.cli.evaluate import evaluate
from aimc_robust.cli.fit import fit, verify
from aimc_robust.cli.recommend import recommend
from aimc_robust.cli.told import SOME_FAILED, debug, told
from aimc_robust.errors import InputError

app = typer.Typer(
    name="aimc-robust",
    help="Train networks that survive analog memory, predict their accuracy on a device, compare devices and methods."
    "\n\nExample: aimc-robust compare benchmarks/quickstart.toml",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"aimc-robust {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
    debugging: Annotated[bool, typer.Option("--debug", help="Show where an error comes from.")] = False,
) -> None:
    debug(debugging)


for command in (evaluate, recommend, fit, verify):
    app.command()(told(command))


@app.command()
@told
def compare(
    spec: Annotated[Path, typer.Argument(help="The question: a TOML file with data, model, methods and targets.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for results and report.", show_default="results/<name of the spec>")
    ] = None,
    retry_failed: Annotated[
        bool,
        typer.Option(
            "--retry-failed",
            help="Try failed models again, say after an upgrade; what has not changed fails the same way.",
        ),
    ] = False,
    devices: Annotated[int, typer.Option(min=1, help="Train each model on so many devices of this node at once.")] = 1,
    nodes: Annotated[int, typer.Option(min=1, help="On so many nodes, each started with this command.")] = 1,
    accelerator: Annotated[str, typer.Option(help="cpu, gpu, ..., or auto: the best there is.")] = "auto",
    strategy: Annotated[str, typer.Option(help="How devices share a model: auto or ddp.")] = "auto",
) -> None:
    """Train every method and seed of SPEC, evaluate each on every target, and write tables and a report.

    Stop it whenever you like: the same command goes on where it stopped. Exit code 3 says that some model failed.

    Example: aimc-robust compare benchmarks/quickstart.toml --out results/quickstart
    """
    from aimc_robust import bench
    from aimc_robust.cli.watch import watching
    from aimc_robust.report import write_report
    from aimc_robust.training import Machine

    question = bench.load_spec(spec)
    folder = out or Path("results") / question.name
    machine = Machine(devices=devices, nodes=nodes, accelerator=accelerator, strategy=strategy)
    first = machine.is_first
    with watching() if first else nullcontext(bench.Progress()) as progress:
        outcome = bench.compare(
            question,
            spec.read_text(encoding="utf-8-sig"),
            folder,
            data_folder=spec.parent,
            progress=progress,
            retry_failed=retry_failed,
            machine=machine,
        )
        if first:
            progress.report(write_report(folder))
    if outcome.failed and first:  # another process that ends badly would be taken for a crash
        names = ", ".join(str(cell) for cell in outcome.failed)
        typer.echo(f"failed: {names}; the report gives the reasons, --retry-failed tries them again.", err=True)
        raise typer.Exit(SOME_FAILED)


@app.command()
@told
def report(
    folder: Annotated[Path, typer.Argument(help="A folder that `compare` or `evaluate` wrote, finished or not.")],
) -> None:
    """Rebuild tables and report of FOLDER from its rows, whether `compare` or `evaluate` wrote it.

    Example: aimc-robust report results/quickstart
    """
    from aimc_robust.report import write_report

    typer.echo(f"report: {write_report(folder)}")


@app.command()
@told
def devices(
    name: Annotated[str | None, typer.Argument(help="A device of the library, or the path of your own card.")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Also draw the device's curves into this file: .png, .svg or .pdf.")
    ] = None,
) -> None:
    """List the memory devices, or show one: its source, its limits, its errors over the state and its drift.

    Example: aimc-robust devices sonos-agrawal2022 --plot sonos.png
    """
    from aimc_robust.cli import cards

    if name is not None:
        cards.show(name, plot)
    elif plot is None:
        cards.show_all()
    else:
        raise InputError("--plot draws one device: name it, as in aimc-robust devices sonos-agrawal2022 --plot FILE.")


def main() -> None:
    """Entry point of the `aimc-robust` command."""
    arguments = sys.argv[1:]
    if "--debug" in arguments:  # wherever it stands, it belongs to all commands
        arguments = ["--debug", *(argument for argument in arguments if argument != "--debug")]
    app(arguments)
