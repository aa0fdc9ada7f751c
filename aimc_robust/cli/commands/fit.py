"""The commands `fit` and `verify`: fit a device card to measurements, and check the simulation of a card."""

from pathlib import Path
from typing import Annotated

import typer


def fit(
    measurements: Annotated[
        Path,
        typer.Argument(
            help="CSV file with the columns target and measured, optionally time_s, device (the cell, read again or "
            "later) and cycle (each programming of a device); or target, mean, std, n."
        ),
    ],
    name: Annotated[str, typer.Option(help="Name of the card: lower-case letters, digits and hyphens.")],
    out: Annotated[Path, typer.Option(help="Card to write, ending in .toml.")],
    unit: Annotated[
        str, typer.Option(help="Unit of target and measured: uS, nA, or 1 for fractions of full scale.")
    ] = "uS",
    plot: Annotated[
        Path | None,
        typer.Option(
            help="Figure of measurements and fit: .png, .svg or .pdf.", show_default="the card's path, as .png"
        ),
    ] = None,
    technology: Annotated[str, typer.Option(help="One line for the card: material, cell, programming scheme.")] = "",
    citation: Annotated[
        str, typer.Option(help="Source of the measurements.", show_default="the name of the file")
    ] = "",
    programming: Annotated[
        str, typer.Option(help="Programming error: normal, or empirical (quantiles of an error of another shape).")
    ] = "normal",
    drift: Annotated[str, typer.Option(help="Drift model: auto, none, table or power-law.")] = "auto",
    t0: Annotated[
        float | None,
        typer.Option(
            help="Seconds from the programming pulse to the earliest time, for a power law.", show_default="fitted"
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing card.")] = False,
) -> None:
    """Fit a device card to MEASUREMENTS of memory cells, and show how well it describes them.

    Example: aimc-robust fit measurements.csv --name my-rram --out my-rram.toml --plot my-rram.png
    """
    from aimc_robust.cli.views.fit import show_fit
    from aimc_robust.report.figures.fit import fit_and_write

    figure = plot or out.with_suffix(".png")
    fitted = fit_and_write(
        measurements,
        name=name,
        out=out,
        plot=figure,
        unit=unit,
        technology=technology,
        citation=citation,
        programming=programming,
        drift=drift,
        t0_s=t0,
        force=force,
    )
    show_fit(fitted, card=out, plot=figure)


def verify(
    card: Annotated[
        str, typer.Argument(help="A device of the library, the path of your own card, or package.module:name.")
    ],
    alpha: Annotated[
        float, typer.Option(help="Probability that a correct implementation fails, over all checks together.")
    ] = 0.01,
    cells: Annotated[int, typer.Option(help="Cells for each of 7 targets on each of 4 chips.")] = 2000,
    times: Annotated[
        str | None,
        typer.Option(help="Times since programming, such as 0,1h,1d.", show_default="within the card's drift"),
    ] = None,
    seed: Annotated[int, typer.Option("--chip-seed", help="Root seed of the chips.")] = 0,
) -> None:
    """Check by simulation that cells behave as CARD states: mean, width, distribution, drift, read noise, independence.

    Exit code 1: some check failed.

    Example: aimc-robust verify rram-wan2022-drift --times 0,1h,1d
    """
    from aimc_robust.cli.views.fit import show_verification
    from aimc_robust.fitting.verify import verify_card
    from aimc_robust.targets.command_line import parse_times

    times_s = None if times is None else parse_times(times)
    verification = verify_card(card, alpha=alpha, cells=cells, times_s=times_s, chip_seed=seed)
    show_verification(verification)
    if not verification.verified:
        raise typer.Exit(1)
