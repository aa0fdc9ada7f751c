"""Read published values from a CSV file: the numbers that a spec's table is compared with."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aimc_robust.errors import DataError, InputError, require_known

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


def find_published_value(figures: Sequence[Mapping[str, str]], query: Mapping[str, str]) -> PublishedValue | None:
    """Return the published value whose columns equal `query`, or None if there is none.

    Args:
        figures: Rows of a file of published values.
        query: Column of COLUMNS -> text that it must hold; if empty, nothing is looked up.

    Raises:
        UnknownNameError: if `query` has an unknown column.
        InputError: if several rows match.
        DataError: if the row has no value.
    """
    if not query:
        return None
    for column in query:
        require_known("column of the published figures", column, COLUMNS)
    matches = [figure for figure in figures if all(figure.get(key) == text for key, text in query.items())]
    if len(matches) > 1:
        raise InputError(f"{len(matches)} published figures match {dict(query)}; name more of their columns.")
    if not matches:
        return None
    value, sd_noise, sd_seed = (
        float(matches[0][column]) if matches[0][column] else None for column in ("value", "sd_noise", "sd_seed")
    )
    if value is None:
        raise DataError(f"the published figure for {dict(query)} has no value; correct the file.")
    return PublishedValue(value, sd_noise, sd_seed)


def insert_published_values(table: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Replace the key `published` of a spec's `[paper]` by `figures`: the rows of that file that `where` selects.

    `figures` is empty if no row or column of the table asks for a published value.

    Args:
        table: The keys of `[paper]`.
        folder: Where the path of the file starts.

    Raises:
        DataError: if the file is missing or has other columns.
        UnknownNameError: if `where` names an unknown column.
    """
    table = dict(table)
    name = table.pop("published", None)
    if name is None:
        return table
    rows = _read_rows(folder / str(name))
    where = table.get("where", {})
    for key in where:
        require_known("column of the published figures", key, COLUMNS)
    sides = [side for key in ("rows", "columns") for side in table.get(key, ()) if isinstance(side, dict)]
    is_used = any("published" in side for side in sides)
    table["figures"] = [row for row in rows if is_used and all(row.get(key) == value for key, value in where.items())]
    return table


def _read_rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise DataError(
            f"the published figures {path} cannot be read ({error.strerror}); correct the path `published`."
        ) from None
    if not rows or set(rows[0]) != set(COLUMNS):
        raise DataError(
            f"{path} must have the columns {', '.join(COLUMNS)}; it has {', '.join(rows[0] if rows else [])}."
        )
    return rows
