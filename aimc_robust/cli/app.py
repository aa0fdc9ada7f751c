"""The commands. They import torch and other large packages themselves, so that `--help` is fast."""

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from aimc_robust import __version__
from aimc_robust.cli.command import Command
from aimc_robust.cli.commands.analyze import analyze
from aimc_robust.cli.commands.compare import compare
from aimc_robust.cli.commands.coverage import coverage
from aimc_robust.cli.commands.evaluate import evaluate
from aimc_robust.cli.commands.fit import fit, verify
from aimc_robust.cli.commands.plan import plan
from aimc_robust.cli.commands.recommend import recommend
from aimc_robust.cli.commands.require import require
from aimc_robust.cli.commands.results import merge, pack, report
from aimc_robust.cli.error_handling import handle_errors, set_debug
from aimc_robust.errors import InputError
from aimc_robust.io.user_code import user_code

app = typer.Typer(
    name="aimc-robust",
    help="Train networks that survive analog memory, predict what they score on a device, compare devices and methods."
    "\n\nExample: aimc-robust compare benchmarks/quickstart.toml",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"aimc-robust {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    no_user_code: Annotated[
        bool,
        typer.Option(
            "--no-user-code",
            help="Refuse every package.module:name before it is imported: for specs of others, which could run "
            "anything. --debug and this option may also follow the command.",
        ),
    ] = False,
) -> None:
    set_debug(debug)
    context.with_resource(user_code(not no_user_code))


def devices(
    name: Annotated[str | None, typer.Argument(help="A device of the library, or the path of your own card.")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Write the device's curves to this file too: .png, .svg or .pdf.")
    ] = None,
) -> None:
    """List the memory devices, or show one: source, limits, errors over the state, and drift.

    Example: aimc-robust devices sonos-agrawal2022 --plot sonos.png
    """
    from aimc_robust.cli.views.devices import show_card, show_library
    from aimc_robust.devices.library import load_card

    if name is None:
        if plot is not None:
            raise InputError("--plot needs a device, as in aimc-robust devices sonos-agrawal2022 --plot FILE.")
        show_library()
        return
    if plot is not None:
        from aimc_robust.report.figures.device import check_figure_path, draw_card, save_figure

        check_figure_path(plot)
        save_figure(draw_card(load_card(name)), plot)
    show_card(load_card(name), plot)


def presets(
    name: Annotated[str | None, typer.Argument(help="A preset, to show it with its source.")] = None,
) -> None:
    """List the presets, published settings of whole crossbars, or show one. `--device` and specs take their names.

    Example: aimc-robust presets rasch2023
    """
    from aimc_robust.cli.views.presets import show_preset, show_presets

    if name is None:
        show_presets()
    else:
        show_preset(name)


def schema(
    kind: Annotated[Literal["spec", "card"], typer.Argument(help="A spec of compare, or a device card.")] = "spec",
) -> None:
    """Print the JSON schema of specs, or of device cards: editors complete and check a TOML file with it.

    Put `#:schema spec.schema.json` in the first line of the file for editors that use Taplo, such as Even Better TOML.

    Example: aimc-robust schema > spec.schema.json

    Example: aimc-robust schema card > card.schema.json
    """
    if kind == "card":
        from aimc_robust.devices.schema import card_schema

        typer.echo(json.dumps(card_schema(), indent=1))
        return
    from aimc_robust.experiments.spec.schema import spec_schema

    typer.echo(json.dumps(spec_schema(), indent=1))


for command in (
    compare,
    plan,
    analyze,
    merge,
    pack,
    evaluate,
    recommend,
    require,
    coverage,
    fit,
    verify,
    schema,
    report,
    devices,
    presets,
):
    app.command(cls=Command)(handle_errors(command))


def main() -> None:
    """Run the command line; entry point of `aimc-robust`."""
    arguments = sys.argv[1:]
    anywhere = [option for option in ("--debug", "--no-user-code") if option in arguments]  # options of the app
    app([*anywhere, *(argument for argument in arguments if argument not in anywhere)])
