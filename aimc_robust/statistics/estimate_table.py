"""Checks of the table that an estimate is made of."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from aimc_robust.errors import InputError, require_type
from aimc_robust.statistics.primary_metric import PrimaryMetric

LARGEST = 2**53  # whole numbers up to it are exact as floats, which pandas makes of columns with a blank


def check_arguments(table: object, metric: object, others: object) -> None:
    """Raise `InputError` unless `table` has whole seeds and chips and a number in every row, and metrics are some."""
    example = "a PrimaryMetric, such as PrimaryMetric('perplexity', better='lower')"
    require_type("metric", metric, PrimaryMetric, example=example)
    if not isinstance(others, Iterable) or not all(isinstance(other, PrimaryMetric) for other in others):
        raise InputError("others must be a tuple of metrics of further columns, such as (PrimaryMetric('f1'),).")
    assert isinstance(metric, PrimaryMetric)
    _check_table(table, metric.name)


def _check_table(table: object, name: str) -> None:
    columns = f"train_seed, chip and {name}"
    if not isinstance(table, pd.DataFrame):
        kind = type(table).__name__
        raise InputError(f"an estimate needs a pandas DataFrame with the columns {columns}, got {kind}.")
    missing = {"train_seed", "chip", name} - set(table.columns)
    if missing or table.empty:
        raise InputError(f"an estimate needs rows with the columns {columns}; missing: {sorted(missing) or 'rows'}.")
    used = ["train_seed", "chip", name, *(["n"] if "n" in table else [])]
    if repeated := [column for column in used if isinstance(table[column], pd.DataFrame)]:
        raise InputError(f"the column {repeated[0]!r} occurs more than once; keep one of them.")
    for column in used:
        if not _is_finite(table[column]):
            raise InputError(
                f"the column {column!r} must hold a number in every row; some are missing, NaN, infinite or text."
            )
    for column in ("train_seed", "chip"):
        values = table[column].to_numpy(dtype=float)
        if (values != np.floor(values)).any() or values.min() < 0 or values.max() > LARGEST:
            raise InputError(f"the column {column!r} must hold whole numbers from 0 to {LARGEST}; number them so.")


def _is_finite(column: pd.Series) -> bool:
    real = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_complex_dtype(column)
    return real and not column.isna().any() and bool(np.isfinite(column.to_numpy(dtype=float)).all())
