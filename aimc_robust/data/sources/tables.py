"""Tables in CSV and Parquet files: numeric columns are inputs, one or several columns are labels."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from aimc_robust.errors import DataError, MissingDependencyError, join_names, short_repr, unknown_name

SPLIT_COLUMN, SPLITS = "split", ("train", "validation", "test")


@dataclass(frozen=True)
class Table:
    """A table that was read.

    Attributes:
        features: Numbers (N, features) float64.
        labels: (N,) of one column, (N, columns) of several: float32, or int64 for classes and whole numbers.
        split: One of SPLITS for each row; None without such a column.
        feature_names: Names of the features.
        class_names: Texts that the classes 0, 1, ... stand for; empty where labels are numbers.
    """

    features: np.ndarray
    labels: np.ndarray
    split: np.ndarray | None
    feature_names: tuple[str, ...]
    class_names: tuple[str, ...] = ()


def read_table(path: Path, label_columns: Sequence[str], *, parquet: bool = False, classes: bool = False) -> Table:
    """Read a table with one example in each row.

    Args:
        path: A file in CSV (UTF-8, a header line; fields are separated by commas, semicolons or tabs), or Parquet.
        label_columns: Columns that are labels; none: the last column.
        parquet: Whether it is in Parquet.
        classes: Whether labels are classes: all of the numbers 0, 1, ..., or texts, which are numbered in sorted order.

    Raises:
        DataError: if the file cannot be read, a column is missing or repeated, a value is missing, or a feature is no
            number; the message names file, row and column.
    """
    frame = _read_parquet(path) if parquet else _read_csv(path)
    names = [str(name) for name in frame.columns]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated or not all(names):
        raise DataError(
            f"{path}: the name {repeated[0] if repeated else ''!r} is empty or repeated; name each column once."
        )
    frame.columns = names
    if frame.empty:
        raise DataError(f"{path} holds no rows; expected one example in each row.")
    _require_values(path, frame)
    features = [name for name in names if name != SPLIT_COLUMN]
    chosen = list(label_columns) or features[-1:]
    for name in chosen:
        if name not in features:
            raise DataError(f"{path}: labels: {unknown_name('column', name, features)}")
    features = [name for name in features if name not in chosen]
    if not features or len(set(chosen)) < len(chosen):
        raise DataError(f"{path}: expected columns of numbers besides the labels {', '.join(chosen)}, each named once.")
    labels, class_names = _classes(path, frame, chosen) if classes else (_values(path, frame, chosen), ())
    return Table(_numbers(path, frame, features, "input"), labels, _splits(path, frame), tuple(features), class_names)


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            line = file.readline()
            sign = max(",;\t", key=line.count)  # the first of equals: a comma
            header = [name.strip() for name in next(csv.reader([line], delimiter=sign), [])]
            # Without names pandas raises for rows that are longer than the first; with them it would drop a field.
            frame = pd.read_csv(file, sep=sign, header=None, skipinitialspace=True)
    except FileNotFoundError:
        raise DataError(f"there is no table {path}; give the path of an existing file.") from None
    except pd.errors.EmptyDataError:
        raise DataError(f"{path} holds no rows; expected a header line and one example in each row.") from None
    except Exception as error:  # pandas raises many types for files that are no tables
        raise DataError(f"{path} cannot be read as a table in CSV (UTF-8): {' '.join(str(error).split())}.") from None
    if len(header) != frame.shape[1]:
        raise DataError(f"{path}: expected {len(header)} fields in each row as in the header, got {frame.shape[1]}.")
    frame.columns = pd.Index(header)
    return frame


def _read_parquet(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise DataError(f"there is no table {path}; give the path of an existing file.")
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"the table {path.name} needs pyarrow ({error}); install it with: pip install 'aimc-robust[tables]'"
        ) from None
    try:
        return pd.read_parquet(path, engine="pyarrow").reset_index(drop=True)
    except Exception as error:  # pyarrow raises many types for files that are no tables
        raise DataError(f"{path} cannot be read as a table in Parquet: {' '.join(str(error).split())}.") from None


def _require_values(path: Path, frame: pd.DataFrame) -> None:
    """Raise DataError for the first value that is missing or infinite, by its row and column."""
    numbers = frame.select_dtypes("number", exclude="timedelta")
    bad = frame.isna()
    bad[numbers.columns] |= np.isinf(numbers.to_numpy(dtype=np.float64, na_value=np.nan))
    if bad.to_numpy().any():
        row, column = np.argwhere(bad.to_numpy())[0]
        raise DataError(
            f"{path}: the value in row {row + 1} (counted without the header) of the column {frame.columns[column]} is "
            f"missing or infinite, one of {int(bad.to_numpy().sum())}; fill in such values, or leave the rows out."
        )


def _numbers(path: Path, frame: pd.DataFrame, columns: list[str], role: str) -> np.ndarray:
    """Return columns as float64; raise DataError that lists those that hold other things than numbers."""
    kinds = pd.api.types
    wrong = [
        name
        for name in columns
        if not (kinds.is_numeric_dtype(frame[name]) and not kinds.is_complex_dtype(frame[name]))
    ]
    if wrong:
        example = short_repr(frame[wrong[0]].iloc[0])
        advice = "write categories as numbers (such as one column of 0 and 1 for each), or leave such columns out"
        if role == "label":
            advice = "write them as numbers, or use the task classification for texts"
        raise DataError(
            f"{path}: expected numbers as {role}s, got others in the column{'s' * (len(wrong) > 1)} "
            f"{join_names(wrong)}, such as {example}; {advice}."
        )
    numbers = frame[columns].to_numpy(dtype=np.float64)
    if (np.abs(numbers) > np.finfo(np.float32).max).any():
        column = columns[int(np.argwhere(np.abs(numbers) > np.finfo(np.float32).max)[0, 1])]
        raise DataError(f"{path}: the column {column} holds numbers beyond float32; scale it.")
    return numbers


def _values(path: Path, frame: pd.DataFrame, columns: list[str]) -> np.ndarray:
    """Return labels that are numbers: int64 if all columns are of whole numbers, else float32."""
    numbers = _numbers(path, frame, columns, "label")
    is_whole = all(pd.api.types.is_integer_dtype(frame[name]) for name in columns)
    return numbers[:, 0 if len(columns) == 1 else slice(None)].astype(np.int64 if is_whole else np.float32)


def _classes(path: Path, frame: pd.DataFrame, columns: list[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return classes (N,) int64, and their names if they are texts."""
    if len(columns) > 1:
        raise DataError(
            f"{path}: expected one column of classes as labels, got {', '.join(columns)}; use the task multilabel or "
            "regression for several."
        )
    column: Any = frame[columns[0]]
    if not pd.api.types.is_numeric_dtype(column):
        names, numbers = np.unique(column.astype(str).to_numpy(dtype=object), return_inverse=True)
        return numbers.astype(np.int64), tuple(map(str, names))
    numbers = _numbers(path, frame, columns, "label")[:, 0]
    found = np.unique(numbers)
    wrong = found != np.arange(len(found))
    if wrong.any():
        raise DataError(
            f"{path}: expected the classes 0, 1, ... without a gap in the column {columns[0]}, got "
            f"{found[wrong][0]:g}; for labels that are numbers use the task regression."
        )
    return numbers.astype(np.int64), ()


def _splits(path: Path, frame: pd.DataFrame) -> np.ndarray | None:
    """Return which split each row belongs to, as the column `split` says."""
    if SPLIT_COLUMN not in frame:
        return None
    splits = frame[SPLIT_COLUMN].astype(str).to_numpy(dtype=object)
    wrong = ~np.isin(splits, SPLITS)
    if wrong.any():
        raise DataError(
            f"{path}: the column {SPLIT_COLUMN} says train, validation or test for each row, got "
            f"{short_repr(splits[wrong][0])}; rename it if it is something else."
        )
    return splits
