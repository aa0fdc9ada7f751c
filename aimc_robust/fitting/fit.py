"""Fit a device card to measurements."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aimc_robust import __version__
from aimc_robust.devices.card import Card
from aimc_robust.devices.cell_model import UNITS
from aimc_robust.devices.library import load_card
from aimc_robust.errors import InputError, require_finite, require_known
from aimc_robust.fitting.card_file import card_toml
from aimc_robust.fitting.drift import Ageing, fit_table
from aimc_robust.fitting.goodness import Goodness, judge, marginal_deviance
from aimc_robust.fitting.laws import Choice, choose, round_value
from aimc_robust.fitting.measurements import read_measurements
from aimc_robust.fitting.points import Points, gather
from aimc_robust.fitting.power_law import fit_power_law
from aimc_robust.fitting.programming import (
    Offset,
    ReadNoise,
    Stuck,
    around,
    check_first,
    find_offset,
    find_stuck,
    fit_read,
    read_sample,
)
from aimc_robust.fitting.summary_text import comments, fit_sentence, note_sentence, warnings_of
from aimc_robust.io.atomic import atomic_write

if TYPE_CHECKING:
    import pandas as pd

DRIFTS = ("auto", "none", "table", "power-law")
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")  # Card.name


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A card fitted to measurements, and how well it fits.

    card: the device card. goodness: see there. offset: of the states from their targets at the earliest time.
    clock_s: the time of the measurements [s] at which the card's time is 0. drift_text: which drift, and why.
    stuck: (low, high) numbers of cells that stay at an end of the window. warnings: what to know before use.
    points, read: what was fitted, and the read noise (None: no repeated reads).
    """

    card: Card
    goodness: Goodness
    offset: Offset
    clock_s: float
    drift_text: str
    stuck: tuple[int, int]
    warnings: tuple[str, ...]
    points: Points
    read: ReadNoise | None

    def to_toml(self) -> str:
        """The card as TOML, with the goodness of fit as comments."""
        return card_toml(self.card, comments(self))

    def write(self, path: str | Path, *, force: bool = False) -> Path:
        """Write the card whole to `path` (ending in .toml), and read it back.

        Raises InputError for another ending, and for a file that is there already unless `force`.
        """
        path = check_out(path, force=force)
        atomic_write(path, self.to_toml())
        if load_card(path) != self.card:
            raise InputError(f"{path} does not read back as the card that was fitted; please report this.")
        return path


def check_out(path: str | Path, *, force: bool = False) -> Path:
    """`path` as one that a card may be written to. Raises InputError as `Fit.write`."""
    path = Path(path)
    if path.suffix != ".toml":
        raise InputError(f"a card is written to a file that ends in .toml, got {str(path)!r}.")
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the path of a file.")
    if path.exists() and not force:
        raise InputError(f"{path} is there already; choose another file, or say --force (force=True) to replace it.")
    if not path.parent.is_dir():
        raise InputError(f"there is no folder {path.parent}; make it first.")
    return path


def fit_card(
    measurements: pd.DataFrame | str | Path,
    *,
    name: str,
    unit: str = "uS",
    drift: str = "auto",
    t0_s: float | None = None,
    technology: str = "",
    citation: str = "",
) -> Fit:
    """Fit a card: error of programming, and where the measurements hold them, drift, read noise and stuck cells.

    measurements: a CSV file or a data frame with the columns `target` and `measured` [unit], optionally `time_s` [s]
    and `device`: rows of one device and one target are one cell, read repeatedly or over time.
    unit: `uS`, `nA`, or `1` for shares of full scale. drift: `auto` (the lowest BIC), `none`, `table` or `power-law`.
    t0_s: of a power law, from the programming pulse to the earliest time [s]; None: see `fit_power_law`.
    technology, citation: for the card.
    Raises DataError for measurements that cannot support a fit, InputError or UnknownNameError for an argument.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise InputError(f"name must be small letters, digits and hyphens, such as my-rram, got {name!r}.")
    require_known("unit", unit, UNITS.values())
    require_known("drift", drift, DRIFTS)
    if t0_s is not None:
        require_finite("t0_s (seconds from the programming pulse to the earliest time)", t0_s, low=1e-12)
    if citation and len(citation) < 10:
        raise InputError(f"a citation has at least 10 characters, got {citation!r}.")
    found = read_measurements(measurements)
    everything = gather(found)
    check_first(everything.at(0))
    stuck = find_stuck(everything.at(0))
    points = everything.only(~np.isin(everything.cell, _stuck_cells(everything.at(0), stuck)))
    check_first(points.at(0))

    reference = float(round_value(float(found.target.max())))
    read = fit_read(points, reference=reference)
    first = points.at(0)
    programming = choose([around(first, first.target, read)], reference=reference)
    frame = {
        "name": name,
        "technology": technology or "measured memory cells",
        "state": next(state for state, known in UNITS.items() if known == unit),
        "unit": unit,
        "range": _range(found.target),
        "read": read.law.model_dump() if read is not None else None,
        "stuck": {"low": round_value(stuck.fractions[0]), "high": round_value(stuck.fractions[1])}
        if any(stuck.fractions)
        else None,
    }
    ageing = _choose_drift(drift, points, read, programming, reference, t0_s, frame)
    source = {"citation": citation or f"Measurements in {found.origin}, fitted by aimc-robust {__version__}"}
    card = _card(frame, source, ageing)
    sample = read_sample(points)
    goodness = judge(
        card,
        points,
        read,
        clock_s=ageing.clock_s,
        fitted=ageing.programming.parameters,
        reads=(sample.state, sample.deviation, sample.freedom),
    )
    offset = find_offset(around(first, first.target, read))
    counts = (int(stuck.low.sum()), int(stuck.high.sum()))
    fit = Fit(
        card=card,
        goodness=goodness,
        offset=offset,
        clock_s=ageing.clock_s,
        drift_text=ageing.text,
        stuck=counts,
        warnings=tuple(warnings_of(goodness, offset, stuck, points, read, unit)),
        points=points,
        read=read,
    )
    source |= {"fit": fit_sentence(fit), "note": note_sentence(fit)}
    return Fit(**{**fit.__dict__, "card": _card(frame, source, ageing)})


def _stuck_cells(first: Points, stuck: Stuck) -> np.ndarray:
    return first.cell[stuck.low | stuck.high]


def _range(target: np.ndarray) -> dict[str, Any]:
    low, high = (round_value(float(end)) for end in (target.min(), target.max()))
    return {"min": low, "max": high, "limits": (low, high)}


def _card(frame: dict[str, Any], source: dict[str, str], ageing: Ageing) -> Card:
    law = ageing.law.model_dump() if ageing.law is not None else None
    programming = ageing.programming.laws[0].model_dump()
    return load_card(frame | {"source": source, "programming": programming, "drift": law})


def _choose_drift(
    drift: str,
    points: Points,
    read: ReadNoise | None,
    programming: Choice,
    reference: float,
    t0_s: float | None,
    frame: dict[str, Any],
) -> Ageing:
    """The drift that is asked for, or that with the lowest BIC of the marginal Gaussian likelihood of all points."""
    flat = Ageing(None, programming, 0, 0.0, "no drift")
    if len(points.times_s) == 1:
        if drift in ("table", "power-law"):
            raise InputError(f"drift {drift!r} needs measurements at two times or more (column time_s), got one time.")
        return flat._replace(text="no drift: one time only")
    if drift == "none":
        return flat._replace(text="no drift, as asked: later times are left out of the card")
    table = None if drift == "power-law" else fit_table(points, read, reference=reference)
    power: Ageing | str = "not asked for"
    if drift != "table":
        power = fit_power_law(points, read, programming, reference=reference, t0_s=t0_s)
    if drift == "power-law":
        if isinstance(power, str):
            raise InputError(f"{power}; use drift='table' or 'auto'.")
        return power._replace(text=f"{power.text}; as asked")
    if drift == "table":
        if table is None:
            raise InputError("a drift table needs at least 20 cells at a second time; measure more, or drift='none'.")
        return table._replace(text=f"{table.text}; as asked")
    able = {"none": flat} | ({"table": table} if table is not None else {})
    if isinstance(power, Ageing):
        able["power-law"] = power
    bics = {}
    for kind, ageing in able.items():
        card = _card(frame, {"citation": "not written yet"}, ageing)
        parameters = ageing.parameters + ageing.programming.parameters
        bics[kind] = marginal_deviance(card, points, read, clock_s=ageing.clock_s) + parameters * np.log(len(points))
    best = min(bics, key=lambda kind: bics[kind])
    why = "BIC above the lowest: " + ", ".join(f"{kind} {bics[kind] - bics[best]:.1f}" for kind in able)
    if isinstance(power, str):
        why += f"; {power}"
    return able[best]._replace(text=f"{able[best].text}; {why}")
