"""Fit a device card to measurements."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from aimc_robust import __version__
from aimc_robust.devices.cell_model import NAME, RESERVED_NAME, UNITS
from aimc_robust.errors import InputError, require_finite, require_known
from aimc_robust.fitting.card_draft import CardDraft, DriftFit
from aimc_robust.fitting.device_share import fit_device_share
from aimc_robust.fitting.drift_selection import DriftChoice, select_drift
from aimc_robust.fitting.empirical import fit_empirical
from aimc_robust.fitting.fit_result import Fit
from aimc_robust.fitting.goodness import assess_fit
from aimc_robust.fitting.measurements import Measurements, read_measurements
from aimc_robust.fitting.points import Points, gather_points
from aimc_robust.fitting.programming import MeanOffset, check_earliest, deviations_from, mean_offset
from aimc_robust.fitting.read_noise import fit_read_noise
from aimc_robust.fitting.std_fit import fit_best_family
from aimc_robust.fitting.std_laws import rounded
from aimc_robust.fitting.stuck_cells import StuckCells, find_stuck_cells
from aimc_robust.fitting.summary_text import fit_sentence, fit_warnings, ignored_warning, note_sentence

if TYPE_CHECKING:
    import pandas as pd

ProgrammingChoice = Literal["normal", "empirical"]
"""The shape of the programming error."""


def fit_card(
    measurements: pd.DataFrame | str | Path,
    *,
    name: str,
    unit: str = "uS",
    programming: ProgrammingChoice = "normal",
    drift: DriftChoice = "auto",
    t0_s: float | None = None,
    technology: str = "",
    citation: str = "",
) -> Fit:
    """Fit a device card: programming error, and drift, read noise and stuck cells if the measurements show them.

    Args:
        measurements: A CSV file or a data frame with the columns `target` and `measured` [unit], optionally `time_s`
            [s] and `device`. Rows of one device and one target are one cell, read repeatedly or over time; with a
            column `cycle`, those of one programming of it. Or a summary table: `target`, `mean`, `std` [unit] and `n`
            cells, optionally `time_s`.
        name: Name of the card: lower-case letters, digits and hyphens.
        unit: `uS`, `nA`, or `1` for fractions of full scale.
        programming: `normal`, or `empirical`: quantiles at several targets, for an error of another shape. An empirical
            law does not go with a drift table.
        drift: `auto` (the lowest BIC), `none`, `table` or `power-law`.
        t0_s: Seconds from the programming pulse to the earliest time, for a power law; None: see `fit_power_law`.
        technology: One line on the technology, for the card.
        citation: Source of the measurements, for the card.

    Returns:
        The card and its goodness of fit.

    Raises:
        DataError: If the measurements cannot support a fit.
        InputError: If an argument is invalid.
        UnknownNameError: If `unit`, `programming` or `drift` is unknown.
    """
    _check_arguments(name, unit, drift, t0_s, citation)
    require_known("programming", programming, get_args(ProgrammingChoice))
    table = read_measurements(measurements)
    if table.summarized and programming == "empirical":
        raise InputError(
            "a summary table has no quantiles; use programming='normal' (--programming normal), or give the cells."
        )
    points, stuck = _without_stuck_cells(gather_points(table), table.origin, summarized=table.summarized)
    reference = rounded(float(table.target.max()))
    read_noise = fit_read_noise(points, reference=reference)
    first = points.at(0)
    deviations = deviations_from(first.target, first, read_noise)
    normal = fit_best_family([deviations], reference=reference)
    empirical = fit_empirical(first, read_noise) if programming == "empirical" else None
    draft = CardDraft(
        name=name,
        technology=technology or "measured memory cells",
        unit=unit,
        window=(float(table.target.min()), float(table.target.max())),
        read_noise=read_noise,
        stuck=stuck.fractions,
    )
    tables = empirical is None
    drift_fit = select_drift(drift, points, normal, draft, reference=reference, t0_s=t0_s, tables=tables)
    drift_fit = drift_fit._replace(empirical=empirical)
    source = {"citation": citation or f"Measurements in {table.origin}, fitted by aimc-robust {__version__}"}
    return _assessed(draft, drift_fit, source, points, stuck, mean_offset(deviations), table)


def _assessed(
    draft: CardDraft,
    drift: DriftFit,
    source: dict[str, str],
    points: Points,
    stuck: StuckCells,
    offset: MeanOffset,
    table: Measurements,
) -> Fit:
    """The fit with its goodness, whose summary becomes part of the card's source."""
    card, read_noise = draft.card(drift, source), draft.read_noise
    found = fit_device_share(card, points.at(0), read_noise)
    share = found if points.cycled else None  # without cycles it only corrects the tests of the fit
    draft = draft if share is None else replace(draft, device_share=share.settled)
    goodness = assess_fit(card, points, read_noise, drift, found, summarized=table.summarized)
    warnings = fit_warnings(goodness, draft, offset, stuck, points, share, empirical=drift.empirical is not None)
    summary = {
        "fit": fit_sentence(card, goodness, draft, drift),
        "note": note_sentence(draft, drift, offset, share, warnings),
    }
    return Fit(
        card=draft.card(drift, source | summary),
        goodness=goodness,
        offset=offset,
        time_zero_s=drift.time_zero_s,
        drift_summary=drift.summary,
        stuck=(int(stuck.low.sum()), int(stuck.high.sum())),
        warnings=(*ignored_warning(table), *warnings),
        points=points,
        read_noise=read_noise,
        device_share=share,
    )


def _check_arguments(name: str, unit: str, drift: str, t0_s: float | None, citation: str) -> None:
    if not isinstance(name, str) or not re.fullmatch(NAME, name):
        raise InputError(f"name must be lower-case letters, digits and hyphens, such as my-rram, got {name!r}.")
    if name == RESERVED_NAME:
        raise InputError(f"name {name!r} is reserved for exact weights; give the card another one, such as my-rram.")
    require_known("unit", unit, UNITS.values())
    require_known("drift", drift, get_args(DriftChoice))
    if t0_s is not None:
        require_finite("t0_s (seconds from the programming pulse to the earliest time)", t0_s, low=1e-12)
    if citation and len(citation) < 10:
        raise InputError(f"a citation has at least 10 characters, got {citation!r}.")


def _without_stuck_cells(points: Points, origin: str, *, summarized: bool) -> tuple[Points, StuckCells]:
    """The points of the cells that are not stuck, and the stuck cells; a summary table does not show any."""
    first = points.at(0)
    check_earliest(first, origin)
    if summarized:
        none = np.zeros(len(first), dtype=bool)
        return points, StuckCells(none, none, (0.0, 0.0), 0)
    stuck = find_stuck_cells(first)
    free = points.only(~np.isin(points.cell, first.cell[stuck.low | stuck.high]))
    check_earliest(free.at(0), origin)
    return free, stuck
