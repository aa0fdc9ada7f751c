"""Measurements of memory cells: read from a CSV file or a data frame, refused where they cannot support a fit."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aimc_robust.devices.cell_model import LONGEST_S
from aimc_robust.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

NEEDED, OPTIONAL = ("target", "measured"), ("time_s", "device")
FEWEST_POINTS = 30
LARGEST = 1e12  # beyond it a state is a mistake, and its square would leave the numbers that a computer has


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """Rows of measurements, each array (rows,).

    target, measured: states [unit]. time_s: since programming [s]. device: a whole number for each cell's identity;
    None where cells have none. origin: where they come from, in words.
    """

    target: np.ndarray
    measured: np.ndarray
    time_s: np.ndarray
    device: np.ndarray | None
    origin: str


def read_measurements(source: pd.DataFrame | str | Path) -> Measurements:
    """The measurements of a CSV file with a header line, or of a data frame; further columns are left alone.

    Columns: `target` and `measured` [unit], optionally `time_s` [s] (blank: 0) and `device` (any text or number).
    Raises DataError for a file that cannot be read, missing or repeated columns, what is no finite number, states or
    times below 0, fewer than 30 rows, one target state only, or measured states that all equal their targets or 0.
    """
    if isinstance(source, str | Path):
        path = Path(source)
        header, rows, lines = _from_file(path)
        where, origin = f"{path}, line", path.name
    else:
        header, rows = [str(name) for name in source.columns], source.to_numpy(dtype=object)
        lines, where, origin = range(len(rows)), "the data frame, row", "a data frame"
    place = _columns(header, where.rsplit(",", 1)[0])
    numbers = {
        name: np.array([_number(row[place[name]], name, f"{where} {n}") for n, row in zip(lines, rows, strict=True)])
        for name in (*NEEDED, "time_s")
        if name in place
    }
    found = Measurements(
        target=numbers["target"],
        measured=numbers["measured"],
        time_s=numbers.get("time_s", np.zeros(len(rows))),
        device=_identities([row[place["device"]] for row in rows], lines, where) if "device" in place else None,
        origin=origin,
    )
    _check(found)
    return found


def _from_file(path: Path) -> tuple[list[str], list[list[str]], list[int]]:
    """Header, rows, and the line number of each row."""
    rows, lines = [], []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            for row in reader:
                if any(field.strip() for field in row):
                    rows.append(row)
                    lines.append(reader.line_num)
    except FileNotFoundError:
        raise DataError(f"there is no file of measurements at {path}; give the path of an existing CSV file.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read as a CSV file: {error.strerror}.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a CSV file in UTF-8: {error}.") from None
    if not rows:
        raise DataError(f"{path} is empty; expected a header line with the columns target and measured.")
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(rows[0]):
            raise DataError(
                f"{path}, line {line}: expected {len(rows[0])} fields as in the header, got {len(row)}; write numbers "
                "with a decimal point and separate fields by commas."
            )
    return rows[0], rows[1:], lines[1:]


def _columns(header: Sequence[str], where: str) -> dict[str, int]:
    """The place of each column that is used."""
    names = [name.strip().lower() for name in header]
    shown = ", ".join(repr(name.strip()[:40]) for name in header[:12])
    missing = [name for name in NEEDED if name not in names]
    if missing:
        one_field = len(names) == 1 and any(mark in names[0] for mark in ";\t")
        hint = " Separate fields by commas." if one_field else ""
        raise DataError(
            f"{where}: the column {' and '.join(missing)} is missing; the columns present are {shown}.{hint}"
        )
    for name in (*NEEDED, *OPTIONAL):
        if names.count(name) > 1:
            raise DataError(f"{where}: the column {name} is there {names.count(name)} times; keep one of them.")
    return {name: names.index(name) for name in (*NEEDED, *OPTIONAL) if name in names}


def _number(value: Any, name: str, where: str) -> float:
    """`value` as a finite number; a blank time is 0."""
    blank = value is None or (isinstance(value, str) and not value.strip())
    if name == "time_s" and (blank or (isinstance(value, float) and math.isnan(value))):
        return 0.0
    try:
        if blank or isinstance(value, bool) or "_" in str(value):
            raise ValueError
        number = float(value)
    except (TypeError, ValueError):
        shown = "a blank" if blank else repr(value)
        raise DataError(f"{where}: expected a number in the column {name}, got {shown}.") from None
    if not math.isfinite(number):
        raise DataError(f"{where}: expected a finite number in the column {name}, got {value!r}; leave such rows out.")
    if number < 0:
        if name == "time_s":
            raise DataError(f"{where}: time_s counts seconds since programming and cannot be negative, got {value!r}.")
        raise DataError(
            f"{where}: a state cannot be negative, got {name} = {value!r}; take the instrument's offset off, and give "
            "0 for a cell that carries no current."
        )
    most = LONGEST_S if name == "time_s" else LARGEST
    if number > most:
        raise DataError(f"{where}: {name} = {value!r} is above {most:g}; check its unit.")
    return number


def _identities(values: Iterable[Any], lines: Iterable[int], where: str) -> np.ndarray:
    numbers: dict[str, int] = {}
    found = []
    for value, line in zip(values, lines, strict=True):
        name = "" if value is None or value != value else str(value).strip()  # NaN, a frame's blank, is not itself
        if not name:
            raise DataError(f"{where} {line}: the device is blank; name each cell, or leave the column out.")
        found.append(numbers.setdefault(name, len(numbers)))
    return np.array(found)


def _check(found: Measurements) -> None:
    count = len(found.target)
    if count < FEWEST_POINTS:
        raise DataError(f"a fit needs at least {FEWEST_POINTS} measurements, got {count}.")
    if np.all(found.target == found.target[0]):
        raise DataError(
            f"a fit needs at least two target states, and every row's is {found.target[0]:g}: measure over the window."
        )
    if np.all(found.measured == 0):
        raise DataError("every measured state is 0; nothing can be fitted to that.")
    if np.all(found.measured == found.target):
        raise DataError("every measured state equals its target, so there is no error to fit; are these the targets?")
