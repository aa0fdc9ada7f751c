"""Read measurements of memory cells from a CSV file or a data frame, and check that they can support a fit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aimc_robust.errors import DataError
from aimc_robust.fitting.measured_numbers import measured_number
from aimc_robust.fitting.measurement_file import read_csv

if TYPE_CHECKING:
    import pandas as pd

REQUIRED_COLUMNS, OPTIONAL_COLUMNS = ("target", "measured"), ("time_s", "device")
MIN_MEASUREMENTS = 30


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """Rows of measurements.

    Attributes:
        target: Target states (rows,) [unit].
        measured: Measured states (rows,) [unit].
        time_s: Seconds since programming (rows,).
        device: Number of each row's device (rows,); None if devices are not identified.
        origin: Name of the source.
    """

    target: np.ndarray
    measured: np.ndarray
    time_s: np.ndarray
    device: np.ndarray | None
    origin: str


def read_measurements(source: pd.DataFrame | str | Path) -> Measurements:
    """Read measurements; further columns are ignored.

    Args:
        source: A CSV file with a header line, or a data frame, with the columns `target` and `measured` [unit],
            optionally `time_s` [s] (blank: 0) and `device` (any text or number).

    Raises:
        DataError: If the file cannot be read, a column is missing or repeated, a value is not a finite number or
            below 0, there are fewer than 30 rows or only one target, or all states equal their targets or 0.
    """
    if isinstance(source, str | Path):
        path = Path(source)
        header, rows, lines = read_csv(path)
        where, origin = f"{path}, line", path.name
    else:
        header, rows = [str(name) for name in source.columns], source.to_numpy(dtype=object).tolist()
        lines, where, origin = list(range(len(rows))), "the data frame, row", "a data frame"
    column = _column_indices(header, where.rsplit(",", 1)[0])
    numbers = {
        name: np.array(
            [measured_number(row[column[name]], name, f"{where} {n}") for n, row in zip(lines, rows, strict=True)]
        )
        for name in (*REQUIRED_COLUMNS, "time_s")
        if name in column
    }
    measurements = Measurements(
        target=numbers["target"],
        measured=numbers["measured"],
        time_s=numbers.get("time_s", np.zeros(len(rows))),
        device=_device_numbers([row[column["device"]] for row in rows], lines, where) if "device" in column else None,
        origin=origin,
    )
    _check(measurements)
    return measurements


def _column_indices(header: Sequence[str], where: str) -> dict[str, int]:
    """Index of each column that is used."""
    names = [name.strip().lower() for name in header]
    shown = ", ".join(repr(name.strip()[:40]) for name in header[:12])
    missing = [name for name in REQUIRED_COLUMNS if name not in names]
    if missing:
        one_field = len(names) == 1 and any(mark in names[0] for mark in ";\t")
        hint = " Separate fields by commas." if one_field else ""
        raise DataError(
            f"{where}: the column {' and '.join(missing)} is missing; the columns present are {shown}.{hint}"
        )
    for name in (*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS):
        if names.count(name) > 1:
            raise DataError(f"{where}: the column {name} occurs {names.count(name)} times; keep one of them.")
    return {name: names.index(name) for name in (*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS) if name in names}


def _device_numbers(values: Iterable[Any], lines: Iterable[int], where: str) -> np.ndarray:
    """A number for each distinct device, in order of appearance."""
    number_of: dict[str, int] = {}
    numbers = []
    for value, line in zip(values, lines, strict=True):
        name = "" if value is None or value != value else str(value).strip()  # NaN is the blank of a data frame
        if not name:
            raise DataError(f"{where} {line}: the device is blank; name each device, or leave the column out.")
        numbers.append(number_of.setdefault(name, len(number_of)))
    return np.array(numbers)


def _check(measurements: Measurements) -> None:
    target, measured = measurements.target, measurements.measured
    if len(target) < MIN_MEASUREMENTS:
        raise DataError(f"a fit needs at least {MIN_MEASUREMENTS} measurements, got {len(target)}.")
    if np.all(target == target[0]):
        raise DataError(
            f"a fit needs at least two target states, and every row's is {target[0]:g}; measure over the window."
        )
    if np.all(measured == 0):
        raise DataError("every measured state is 0, so nothing can be fitted; check the column `measured`.")
    if np.all(measured == target):
        raise DataError(
            "every measured state equals its target, so there is no error to fit; check the column `measured`."
        )
