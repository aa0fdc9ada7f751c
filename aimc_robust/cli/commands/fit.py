"""The commands `fit` and `verify`: a card from measurements, and whether a card is simulated as it says."""

from pathlib import Path
from typing import Annotated

import typer


def fit(
    measurements: Annotated[
        Path, typer.Argument(help="CSV with the columns target and measured, optionally time_s and device.")
    ],
    name: Annotated[str, typer.Option(help="Name of the card: small letters, digits and hyphens.")],
    out: Annotated[Path, typer.Option(help="The card to write, ending in .toml.")],
    unit: Annotated[str, typer.Option(help="Of target and measured: uS, nA, or 1 for shares of full scale.")] = "uS",
    plot: Annotated[
        Path | None,
        typer.Option(
            help="Measurements against the fit, as .png, .svg or .pdf.", show_default="beside the card, as .png"
        ),
    ] = None,
    technology: Annotated[str, typer.Option(help="One line for the card: material, cell, how it is programmed.")] = "",
    citation: Annotated[
        str, typer.Option(help="Where the measurements come from.", show_default="the name of the file")
    ] = "",
    drift: Annotated[str, typer.Option(help="auto, none, table or power-law.")] = "auto",
    t0: Annotated[
        float | None,
        typer.Option(
            help="Seconds from the programming pulse to the earliest time, for a power law.", show_default="fitted"
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a card that is there already.")] = False,
) -> None:
    """Fit a device card to MEASUREMENTS of your own cells, and say how well it describes them.

    Example: aimc-robust fit measurements.csv --name my-rram --out my-rram.toml --plot my-rram.png
    """
    from aimc_robust.cli.views import fit

    options = {"technology": technology, "citation": citation, "drift": drift, "t0_s": t0, "force": force}
    fit.fit(measurements, name=name, out=out, unit=unit, plot=plot or out.with_suffix(".png"), **options)


def verify(
    card: Annotated[str, typer.Argument(help="A device of the library, or the path of your own card.")],
    alpha: Annotated[
        float, typer.Option(help="The probability that a right implementation fails, over all checks together.")
    ] = 0.01,
    cells: Annotated[int, typer.Option(help="Cells for each of 7 targets on each of 4 chips.")] = 2000,
    times: Annotated[
        str | None, typer.Option(help="Since programming, such as 0,1h,1d.", show_default="within the card's drift")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the chips.")] = 0,
) -> None:
    """Check by simulation that cells behave as CARD says: mean, width, distribution, drift, read noise, independence.

    Exit code 1 says that some check failed.

    Example: aimc-robust verify rram-wan2022-drift --times 0,1h,1d
    """
    from aimc_robust.cli.views import fit
    from aimc_robust.targets.command_line import times_from

    times_s = None if times is None else times_from(times)
    if not fit.verify(card, alpha=alpha, cells=cells, times_s=times_s, seed=seed):
        raise typer.Exit(1)
