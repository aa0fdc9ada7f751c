"""The commands. torch and the rest are imported inside them, so that `--help` answers at once."""

import sys
from pathlib import Path
from typing import Annotated

import typer  # commands, options and help texts from function signatures

from aimc_robust import __version__
from aimc_robust.cli.commands.compare import compare
from aimc_robust.cli.commands.evaluate import evaluate
from aimc_robust.cli.commands.fit import fit, verify
from aimc_robust.cli.commands.merge import merge
from aimc_robust.cli.commands.plan import plan
from aimc_robust.cli.commands.recommend import recommend
from aimc_robust.cli.error_handling import handle_errors, set_debug  # handle_errors
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
    set_debug(debugging)


for command in (compare, plan, merge, evaluate, recommend, fit, verify):
    app.command()(handle_errors(command))


@app.command()
@handle_errors
def report(
    folder: Annotated[Path, typer.Argument(help="A folder that `compare` or `evaluate` wrote, finished or not.")],
) -> None:
    """Rebuild tables and report of FOLDER from its rows, whether `compare` or `evaluate` wrote it.

    Example: aimc-robust report results/quickstart
    """
    from aimc_robust.report.write import write_report

    typer.echo(f"report: {write_report(folder)}")


@app.command()
@handle_errors
def devices(
    name: Annotated[str | None, typer.Argument(help="A device of the library, or the path of your own card.")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Also draw the device's curves into this file: .png, .svg or .pdf.")
    ] = None,
) -> None:
    """List the memory devices, or show one: its source, its limits, its errors over the state and its drift.

    Example: aimc-robust devices sonos-agrawal2022 --plot sonos.png
    """
    from aimc_robust.cli.views import devices

    if name is not None:
        devices.show(name, plot)
    elif plot is None:
        devices.show_all()
    else:
        raise InputError("--plot draws one device: name it, as in aimc-robust devices sonos-agrawal2022 --plot FILE.")


def main() -> None:
    """Entry point of the `aimc-robust` command."""
    arguments = sys.argv[1:]
    if "--debug" in arguments:  # wherever it stands, it belongs to all commands
        arguments = ["--debug", *(argument for argument in arguments if argument != "--debug")]
    app(arguments)
