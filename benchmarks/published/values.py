"""The published numbers: the rows of values.csv."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from aimc_robust.errors import DataError, InputError, require_known

FILE = Path(__file__).with_name("values.csv")
COLUMNS = ("paper", "table", "dataset", "model", "method", "setting", "metric", "value", "sd_noise", "sd_seed")


@dataclass(frozen=True)
class PublishedValue:
    """A published number.

    Attributes:
        value: In the unit of its metric; accuracies in percent.
        sd_noise: Standard deviation over noise draws; None if not published.
        sd_seed: Standard deviation over trained models; None if not published.
    """

    value: float
    sd_noise: float | None
    sd_seed: float | None


@cache
def published_rows() -> tuple[dict[str, str], ...]:
    """Return all rows of the file."""
    with FILE.open(encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))


def matching_rows(rows: Sequence[Mapping[str, str]], query: Mapping[str, str]) -> list[Mapping[str, str]]:
    """Return the rows whose columns equal `query`.

    Args:
        rows: Rows of the file.
        query: Column of COLUMNS -> text that it must hold.

    Raises:
        UnknownNameError: if `query` has an unknown column.
    """
    for column in query:
        require_known("column of the published values", column, COLUMNS)
    return [row for row in rows if all(row[column] == text for column, text in query.items())]


def find_published_value(rows: Sequence[Mapping[str, str]], query: Mapping[str, str]) -> PublishedValue | None:
    """Return the published value whose columns equal `query`, or None if there is none.

    Args:
        rows: Rows of the file.
        query: Column of COLUMNS -> text that it must hold; if empty, nothing is looked up.

    Raises:
        UnknownNameError: if `query` has an unknown column.
        InputError: if several rows match.
        DataError: if the row has no value.
    """
    matches = matching_rows(rows, query) if query else []
    if len(matches) > 1:
        raise InputError(f"{len(matches)} published values match {dict(query)}; name more of their columns.")
    if not matches:
        return None
    value, sd_noise, sd_seed = (
        float(matches[0][column]) if matches[0][column] else None for column in ("value", "sd_noise", "sd_seed")
    )
    if value is None:
        raise DataError(f"the published value for {dict(query)} is empty; correct {FILE.name}.")
    return PublishedValue(value, sd_noise, sd_seed)
