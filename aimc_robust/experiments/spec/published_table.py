"""The published table that a spec reproduces: its layout, its figures, and what it is cited for."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pydantic

from aimc_robust.errors import DataError, InputError, require_known
from aimc_robust.io.toml import StrictModel

METRICS = ("accuracy", "top5", "loss")
COSTS = ("flops", "time")
COLUMNS = ("paper", "table", "dataset", "model", "method", "setting", "metric", "value", "sd_noise", "sd_seed")


@dataclass(frozen=True)
class PublishedValue:
    """A published figure [its metric's unit, accuracies in percent]; a deviation that is not given is None."""

    value: float
    sd_noise: float | None
    sd_seed: float | None


@dataclass(frozen=True)
class PaperCell:
    """One place of the table. methods: our labels that it stands for, of which the best is shown; empty at a scale that
    leaves them out. target: None for a cost. metric: one of METRICS. cost: one of COSTS, or None.
    """

    row: str
    column: str
    methods: tuple[str, ...]
    target: str | None
    metric: str
    cost: str | None
    published: PublishedValue | None


@dataclass(frozen=True)
class Claim:
    """A statement of the paper: `better` scores higher than `than`; each (labels, of which the best counts, target)."""

    text: str
    better: tuple[tuple[str, ...], str]
    than: tuple[tuple[str, ...], str]


class Side(StrictModel):
    """One side of a claim. method: a label or a glob of labels."""

    method: str
    target: str


class ClaimSpec(StrictModel):
    """A statement as a spec writes it."""

    text: str
    better: Side
    than: Side


class PaperSpec(StrictModel):
    """[paper] of a spec.

    rows, columns: tables with `title` and any of `target`, `method`, `metric`, `published` (columns of the published
    figures and their values), of columns `cost`, and keys of their own, which `{key}` in the other side stands for. A
    cell takes each key from its row, else from its column; `published` joins both and `where`.
    figures: the rows of the published file that `where` leaves, read when the spec is loaded.
    """

    citation: str
    place: str
    caption: str = ""
    open: dict[str, str] = pydantic.Field(
        default_factory=dict
    )  # point that the paper leaves open -> how it was settled
    where: dict[str, str] = pydantic.Field(default_factory=dict)
    heading: str = "method"
    metric: str = "accuracy"
    relative_to: str = "sgd"
    columns: list[dict[str, Any]] = pydantic.Field(min_length=1)
    rows: list[dict[str, Any]] = pydantic.Field(min_length=1)
    claims: list[ClaimSpec] = pydantic.Field(default_factory=list)
    figures: list[dict[str, str]] = pydantic.Field(default_factory=list)

    def cells(self, labels: Sequence[str]) -> list[list[PaperCell]]:
        """The table, row by row. labels: the spec's methods.

        Raises InputError for a key that is missing, or a `published` that several figures answer to; UnknownNameError
        for a column that the published figures lack.
        """
        return [[self._cell(row, column, labels) for column in self.columns] for row in self.rows]

    def built_claims(self, labels: Sequence[str]) -> list[Claim]:
        """The statements, with the labels that each side stands for."""
        sides = [[(tuple(matching(s.method, labels)), s.target) for s in (c.better, c.than)] for c in self.claims]
        return [Claim(c.text, better, than) for c, (better, than) in zip(self.claims, sides, strict=True)]

    def resolved(self, labels: Sequence[str], targets: Sequence[str], *, partial: bool) -> None:
        """Raise InputError or UnknownNameError unless every cell and claim finds its methods, target and figure.

        partial: at a scale that may leave methods and targets out.
        """
        found = [(c.row, c.methods, c.target) for row in self.cells(labels) for c in row]
        found += [(c.text, *side) for c in self.built_claims(labels) for side in (c.better, c.than)]
        for where, methods, target in found:
            if not partial and not methods:
                raise InputError(f"{where!r} matches none of the methods {', '.join(labels)}.")
            if not partial and target is not None:
                require_known(f"target of {where!r}", target, targets)

    def _cell(self, row: dict[str, Any], column: dict[str, Any], labels: Sequence[str]) -> PaperCell:
        both = {**column, **row}
        for side, name in ((row, "row"), (column, "column")):
            if not isinstance(side.get("title"), str):
                raise InputError(f"a {name} of the paper's table needs a `title`, got {side!r}.")
        cost, metric = column.get("cost"), both.get("metric", self.metric)
        if cost is not None:
            require_known("cost", cost, COSTS)
        require_known("metric", metric, METRICS)
        target = None if cost else self._needed(both, "target")
        return PaperCell(
            row["title"],
            column["title"],
            tuple(matching(self._needed(both, "method"), labels)),
            target,
            metric,
            cost,
            self._published(row, column, both),
        )

    def _needed(self, both: dict[str, Any], key: str) -> str:
        if key not in both:
            raise InputError(f"a cell of the paper's table needs `{key}` from its row or column, got {sorted(both)}.")
        return _filled(both[key], both)

    def _published(self, row: dict[str, Any], column: dict[str, Any], both: dict[str, Any]) -> PublishedValue | None:
        sides = [column.get("published", {}), row.get("published", {})]
        if "cost" in column:  # published for all rows together: the column knows better than the row
            sides = sides[::-1] if sides[0] else []
        wanted = {key: _filled(value, both) for side in sides for key, value in side.items()}
        if not wanted:
            return None
        for key in wanted:
            require_known("column of the published figures", key, COLUMNS)
        found = [figure for figure in self.figures if all(figure.get(key) == value for key, value in wanted.items())]
        if len(found) > 1:
            raise InputError(f"{len(found)} published figures answer to {wanted}; name more of their columns.")
        if not found:
            return None
        value, noise, seed = (float(found[0][k]) if found[0][k] else None for k in ("value", "sd_noise", "sd_seed"))
        if value is None:
            raise DataError(f"the published figure for {wanted} has no value; mend the file.")
        return PublishedValue(value, noise, seed)


def _filled(text: Any, both: dict[str, Any]) -> str:
    """`text` with each {key} of the row or column in its place."""
    return re.sub(r"\{(\w+)\}", lambda found: str(both.get(found[1], found[0])), str(text))


def matching(pattern: str, labels: Sequence[str]) -> list[str]:
    """The labels that a label or glob stands for, in their order."""
    return [label for label in labels if fnmatchcase(label, pattern)]


def insert_published_values(table: dict[str, Any], folder: Path) -> dict[str, Any]:
    """[paper] with the figures of the file `published` that `where` leaves in its place; none where no row or column
    asks for any.

    Raises DataError when the file is missing or has other columns, UnknownNameError for a column in `where` that it
    does not have.
    """
    table = dict(table)
    name = table.pop("published", None)
    if name is None:
        return table
    path = folder / str(name)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise DataError(f"the published figures {path} cannot be read ({error.strerror}); mend `published`.") from None
    if not rows or set(rows[0]) != set(COLUMNS):
        raise DataError(
            f"{path} must have the columns {', '.join(COLUMNS)}; it has {', '.join(rows[0] if rows else [])}."
        )
    where = table.get("where", {})
    for key in where:
        require_known("column of the published figures", key, COLUMNS)
    sides = [side for key in ("rows", "columns") for side in table.get(key, ()) if isinstance(side, dict)]
    asked = any("published" in side for side in sides)
    table["figures"] = [row for row in rows if asked and all(row.get(key) == value for key, value in where.items())]
    return table
