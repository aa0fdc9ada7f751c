"""Fit a device card to measurements, and write the card and its figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aimc_robust.fitting.fit import fit_card
from aimc_robust.fitting.fit_result import Fit, check_card_path
from aimc_robust.report.figures.device import check_figure_path, save_figure
from aimc_robust.report.figures.fit import draw_fit


def fit_and_write(
    measurements: Path, *, out: Path, plot: Path | None = None, force: bool = False, **options: Any
) -> Fit:
    """Fit a device card to a CSV file of measurements, and write the card and a figure of the fit.

    The paths are checked before the fit.

    Args:
        measurements: CSV file.
        out: The card to write, ending in .toml.
        plot: The figure to write, ending in .png, .svg or .pdf; None: no figure.
        force: Overwrite existing files.
        **options: Arguments of `fit_card`.

    Raises:
        InputError: If a path or another argument is invalid, or `out` exists and `force` is not set.
        DataError: If the measurements are missing or cannot support a fit.
    """
    check_card_path(out, force=force)
    if plot is not None:
        check_figure_path(plot)
    fit = fit_card(measurements, **options)
    if plot is not None:
        save_figure(draw_fit(fit), plot)
    fit.write(out, force=force)
    return fit
