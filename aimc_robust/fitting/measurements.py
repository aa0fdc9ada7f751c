"""Read measurements of memory cells from a CSV file or a data frame, and check them row by row."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aimc_robust.devices.cell_model import LONGEST_S
from aimc_robust.errors import DataError, nearest_name, short_repr
from aimc_robust.fitting.summary_table import COLUMNS as SUMMARY_COLUMNS
from aimc_robust.fitting.summary_table import equivalent_cells

if TYPE_CHECKING:
    import pandas as pd

REQUIRED_COLUMNS, OPTIONAL_COLUMNS = ("target", "measured"), ("time_s", "device", "cycle")
MIN_MEASUREMENTS = 30
LARGEST_STATE = 1e12  # a larger state is a mistake, and its square may overflow


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """Rows of measurements.

    Attributes:
        target: Target states (rows,) [unit].
        measured: Measured states (rows,) [unit].
        time_s: Seconds since programming (rows,).
        device: Number of each row's device (rows,); None if devices are not identified.
        cycle: Number of each row's programming cycle (rows,); None if no device is programmed again.
        origin: Name of the source.
        summarized: Whether the rows are computed from a summary table.
        ignored: Names of the columns that are not used.
    """

    target: np.ndarray
    measured: np.ndarray
    time_s: np.ndarray
    device: np.ndarray | None
    cycle: np.ndarray | None
    origin: str
    summarized: bool = False
    ignored: tuple[str, ...] = ()


def read_measurements(source: pd.DataFrame | str | Path) -> Measurements:
    """Read measurements; further columns are ignored, unless their names are close to one that is missing.

    Args:
        source: A CSV file with a header line, or a data frame, with the columns `target` and `measured` [unit],
            optionally `time_s` [s] (blank: 0), `device` and with it `cycle` (any text or number); or a summary table
            with the columns `target`, `mean`, `std` [unit] and `n`, optionally `time_s`. `state` is another name of
            `target`.

    Raises:
        DataError: If the source is neither, the file cannot be read, a column is missing, misspelt or repeated, a value
            is not a finite number or below 0, there are fewer than 30 rows, or all states are 0.
    """
    if isinstance(source, str | Path):
        path = Path(source)
        header, rows, lines = _read_csv(path)
        where, origin = f"{path}, line", path.name
    elif not hasattr(source, "columns"):
        raise DataError(f"measurements must be the path of a CSV file or a data frame, got {short_repr(source)}.")
    else:
        header, rows = [str(name) for name in source.columns], source.to_numpy(dtype=object).tolist()
        lines, where, origin = list(range(len(rows))), "the data frame, row", "a data frame"
    names = ["target" if name.strip().lower() == "state" else name.strip().lower() for name in header]
    summarized = "measured" not in names and any(name in names for name in SUMMARY_COLUMNS[1:])
    required = SUMMARY_COLUMNS if summarized else REQUIRED_COLUMNS
    column = _column_indices(names, required, where.rsplit(",", 1)[0])
    ignored = _ignored_columns(names, required, where.rsplit(",", 1)[0])
    numbers = {
        name: np.array([_number(row[column[name]], name, f"{where} {n}") for n, row in zip(lines, rows, strict=True)])
        for name in (*required, "time_s")
        if name in column
    }
    numbers.setdefault("time_s", np.zeros(len(rows)))
    labels: dict[str, np.ndarray | None] = {"device": None, "cycle": None}
    if summarized:
        numbers = equivalent_cells(numbers, lines, where)
    else:
        for name in labels.keys() & column.keys():
            labels[name] = _label_numbers([row[column[name]] for row in rows], name, lines, where)
        if labels["device"] is None and labels["cycle"] is not None:
            raise DataError(f"{where.rsplit(',', 1)[0]}: the column cycle needs the column device; add it.")
        if labels["device"] is not None and labels["cycle"] is not None:
            _check_one_target(labels["device"], labels["cycle"], numbers["target"], lines, where)
    if len(numbers["measured"]) < MIN_MEASUREMENTS:
        raise DataError(
            f"{where.rsplit(',', 1)[0]}: a fit needs at least {MIN_MEASUREMENTS} measurements, got "
            f"{len(numbers['measured'])}."
        )
    if not numbers["measured"].any():
        raise DataError(
            f"{where.rsplit(',', 1)[0]}: every measured state is 0, so nothing can be fitted; check the column "
            f"`{required[1]}`."
        )
    return Measurements(
        **numbers,
        device=labels["device"],
        cycle=labels["cycle"],
        origin=origin,
        summarized=summarized,
        ignored=ignored,
    )


def _check_one_target(
    device: np.ndarray, cycle: np.ndarray, target: np.ndarray, lines: Sequence[int], where: str
) -> None:
    """Raise `DataError` if a device has two targets in one cycle."""
    _, first, programming = np.unique(np.column_stack([device, cycle]), axis=0, return_index=True, return_inverse=True)
    wrong = np.flatnonzero(target != target[first[programming.ravel()]])
    if len(wrong):
        row = int(wrong[0])
        raise DataError(
            f"{where} {lines[row]}: target {target[row]:g}, but this device has another target in the same cycle, "
            f"{target[first[programming.ravel()[row]]]:g}; a cycle programs a device once."
        )


def _read_csv(path: Path) -> tuple[list[str], list[list[str]], list[int]]:
    """Header, rows and the line number of each row of a CSV file in UTF-8; blank lines are skipped."""
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


def _column_indices(names: Sequence[str], required: Sequence[str], where: str) -> dict[str, int]:
    """Index of each column that is used."""
    shown = ", ".join(repr(name[:40]) for name in names[:12])
    missing = [name for name in required if name not in names]
    if missing:
        one_field = len(names) == 1 and any(mark in names[0] for mark in ";\t")
        hint = " Separate fields by commas." if one_field else ""
        which = f"column {missing[0]} is" if len(missing) == 1 else f"columns {' and '.join(missing)} are"
        raise DataError(f"{where}: the {which} missing; the columns present are {shown}.{hint}")
    for name in (*required, *OPTIONAL_COLUMNS):
        if names.count(name) > 1:
            raise DataError(f"{where}: the column {name} occurs {names.count(name)} times; keep one of them.")
    return {name: names.index(name) for name in (*required, *OPTIONAL_COLUMNS) if name in names}


def _ignored_columns(names: Sequence[str], required: Sequence[str], where: str) -> tuple[str, ...]:
    """Names of the columns that are not used; raises `DataError` for a misspelt one, which would change the fit."""
    known = (*required, "time_s") if required is SUMMARY_COLUMNS else (*required, *OPTIONAL_COLUMNS)
    absent = [name for name in known if name not in names]
    others = [name for name in names if name not in known and name and not name.startswith("unnamed:")]  # an index
    for name in others:
        if meant := nearest_name(name, absent, cutoff=0.75):
            raise DataError(f"{where}: unknown column {name[:40]!r}: {meant} Rename the column, or leave it out.")
    return tuple(name[:40] for name in others)


def _number(value: Any, name: str, where: str) -> float:
    """A field of the column `name` as a finite number; a blank time is 0."""
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
    if number < 0 and name == "time_s":
        raise DataError(f"{where}: time_s counts seconds since programming and cannot be negative, got {value!r}.")
    if number < 0 and name in ("std", "n"):
        raise DataError(f"{where}: {name} cannot be negative, got {value!r}.")
    if number < 0:
        raise DataError(
            f"{where}: a state cannot be negative, got {name} = {value!r}; subtract the instrument's offset, and give "
            "0 for a cell without current."
        )
    largest = LONGEST_S if name == "time_s" else LARGEST_STATE
    if number > largest:
        raise DataError(f"{where}: {name} = {value!r} is above {largest:g}; check its unit.")
    return number


def _label_numbers(values: Iterable[Any], column: str, lines: Iterable[int], where: str) -> np.ndarray:
    """A number for each distinct label of the column `device` or `cycle`, in order of appearance."""
    number_of: dict[str, int] = {}
    numbers = []
    for value, line in zip(values, lines, strict=True):
        name = "" if value is None or value != value else str(value).strip()  # NaN is the blank of a data frame
        if not name:
            raise DataError(f"{where} {line}: the {column} is blank; name each {column}, or leave the column out.")
        numbers.append(number_of.setdefault(name, len(number_of)))
    return np.array(numbers)
