"""Fit a device card to measurements, and write the card and its figure."""

from __future__ import annotations

from pathlib import Path

from aimc_robust.fitting.drift_selection import DriftChoice
from aimc_robust.fitting.fit import fit_card
from aimc_robust.fitting.fit_result import Fit, check_card_path
from aimc_robust.report.figures.device_card import check_figure_path
from aimc_robust.report.figures.fit import save_fit_figure


def fit_and_write(
    measurements: Path,
    *,
    name: str,
    out: Path,
    plot: Path | None = None,
    unit: str = "uS",
    technology: str = "",
    citation: str = "",
    drift: DriftChoice = "auto",
    t0_s: float | None = None,
    force: bool = False,
) -> Fit:
    """Fit a device card to a CSV file of measurements, and write the card and a figure of the fit.

    The paths are checked before the fit.

    Args:
        measurements: CSV file, see `fit_card`.
        name: Name of the card.
        out: The card to write, ending in .toml.
        plot: The figure to write, ending in .png, .svg or .pdf; None: no figure.
        unit: Unit of targets and measurements: `uS`, `nA`, or `1` for fractions of full scale.
        technology: One line for the card: material, cell, programming scheme.
        citation: Source of the measurements, for the card.
        drift: `auto`, `none`, `table` or `power-law`.
        t0_s: Seconds from the programming pulse to the earliest time, for a power law; None: fitted.
        force: Overwrite existing files.

    Returns:
        The fit.

    Raises:
        InputError: If a path or another argument is invalid, or `out` exists and `force` is not set.
        DataError: If the measurements are missing or cannot support a fit.
    """
    check_card_path(out, force=force)
    if plot is not None:
        check_figure_path(plot)
    fit = fit_card(measurements, name=name, unit=unit, drift=drift, t0_s=t0_s, technology=technology, citation=citation)
    if plot is not None:
        save_fit_figure(fit, plot)
    fit.write(out, force=force)
    return fit
