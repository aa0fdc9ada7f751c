"""The layout of a published table: its rows and columns, the methods and targets behind them, and the paper's claims.

`<name of the spec>.toml` in this folder is the layout of the spec of that name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic

from aimc_robust.errors import InputError, require_known
from aimc_robust.experiments.spec.inheritance import deep_merge
from aimc_robust.io.toml import StrictModel, parse, read_values

from .claim import Claim, ClaimTable, matching
from .values import PublishedValue, find_published_value, matching_rows, published_rows

FOLDER = Path(__file__).parent
METRICS = ("accuracy", "top5", "loss")
COSTS = ("flops", "time")


@dataclass(frozen=True)
class PublishedCell:
    """One cell of the published table.

    Attributes:
        row: Title of the row.
        column: Title of the column.
        methods: Labels of our methods that the cell stands for, of which the best is shown; empty at a scale that
            leaves them out.
        target: Name of the target; None for a cost.
        metric: One of METRICS.
        cost: One of COSTS, or None.
        published: The published value, or None.
    """

    row: str
    column: str
    methods: tuple[str, ...]
    target: str | None
    metric: str
    cost: str | None
    published: PublishedValue | None


class Layout(StrictModel):
    """The layout of a published table.

    A cell takes each key from its row, else from its column. `{key}` in a value is replaced by the cell's key of that
    name. `published` of row and column are joined, and select one row of values.csv.

    Attributes:
        citation: The paper.
        place: Number of the table or figure.
        caption: What it shows.
        open: A point that the paper leaves open -> how it was decided here.
        where: Column of values.csv -> text, for all cells.
        heading: Heading of the rows' titles.
        metric: Default metric of the cells, one of METRICS.
        columns: Tables with `title` and any of `target`, `method`, `metric`, `published`, `cost`, and further keys.
        rows: The same without `cost`.
        claims: Statements of the paper that the results can confirm.
        smallest_lead: Smallest lead in accuracy that counts for a claim [points], see `claims.check_claims`.
        values: Rows of values.csv that `where` selects; inserted by `read_layout`.
    """

    citation: str
    place: str
    caption: str = ""
    open: dict[str, str] = pydantic.Field(default_factory=dict)
    where: dict[str, str] = pydantic.Field(default_factory=dict)
    heading: str = "method"
    metric: str = "accuracy"
    columns: list[dict[str, Any]] = pydantic.Field(min_length=1)
    rows: list[dict[str, Any]] = pydantic.Field(min_length=1)
    claims: list[ClaimTable] = pydantic.Field(default_factory=list)
    smallest_lead: float = pydantic.Field(default=0.0, ge=0)
    values: list[Mapping[str, str]] = pydantic.Field(default_factory=list)

    @property
    def column_titles(self) -> list[str]:
        """Titles of all columns; the first one heads the row names."""
        return [self.heading, *(column["title"] for column in self.columns)]

    def cells(self, labels: Sequence[str]) -> list[list[PublishedCell]]:
        """Return the cells, row by row.

        Args:
            labels: Labels of the spec's methods.

        Raises:
            InputError: if a key is missing, or several published values match a cell.
            UnknownNameError: if a metric, a cost or a column of the published values is unknown.
        """
        return [[self._cell(row, column, labels) for column in self.columns] for row in self.rows]

    def build_claims(self, labels: Sequence[str]) -> list[Claim]:
        """Return the claims, with the labels that match each side.

        Args:
            labels: Labels of the spec's methods.
        """
        return [claim for table in self.claims for claim in table.build(labels)]

    def check_references(self, labels: Sequence[str], targets: Sequence[str]) -> None:
        """Check that every cell and claim finds its methods, its target and its published value.

        Args:
            labels: Labels of the spec's methods.
            targets: Names of the spec's targets.

        Raises:
            InputError: if a cell or claim matches no method, or a key is missing.
            UnknownNameError: if a target is unknown.
        """
        references = [(cell.row, cell.methods, cell.target) for row in self.cells(labels) for cell in row]
        for claim in self.build_claims(labels):
            references += [(claim.text, side.labels, side.target) for side in (claim.better, claim.than)]
        for location, methods, target in references:
            if not methods:
                raise InputError(f"{location!r} matches none of the methods {', '.join(labels)}.")
            if target is not None:
                require_known(f"target of {location!r}", target, targets)

    def _cell(self, row: dict[str, Any], column: dict[str, Any], labels: Sequence[str]) -> PublishedCell:
        keys = {**column, **row}
        for side, name in ((row, "row"), (column, "column")):
            if not isinstance(side.get("title"), str):
                raise InputError(f"a {name} of a published table needs a `title`, got {side!r}.")
        cost, metric = column.get("cost"), keys.get("metric", self.metric)
        if cost is not None:
            require_known("cost", cost, COSTS)
        require_known("metric", metric, METRICS)
        return PublishedCell(
            row=row["title"],
            column=column["title"],
            target=None if cost else _required(keys, "target"),
            methods=tuple(matching(_required(keys, "method"), labels)),
            metric=metric,
            cost=cost,
            published=self._published(row, column, keys),
        )

    def _published(self, row: dict[str, Any], column: dict[str, Any], keys: dict[str, Any]) -> PublishedValue | None:
        queries = [column.get("published", {}), row.get("published", {})]
        if "cost" in column:  # one value for all rows: the column's keys take precedence
            queries = queries[::-1] if queries[0] else []
        query = {key: _substitute(text, keys) for part in queries for key, text in part.items()}
        return find_published_value(self.values, query)


def read_layout(name: str, *, folder: Path = FOLDER) -> Layout:
    """Read the layout of the spec called `name`.

    Raises:
        InputError: if there is no such layout, or it is not valid.
        UnknownNameError: if `where` names an unknown column of values.csv.
    """
    path = folder / f"{name}.toml"
    if not path.is_file():
        raise InputError(f"there is no published table {path.name}; give the spec the name of a file in {folder}.")
    values = read_values(path, kind="published table")
    if "extends" in values:
        values = deep_merge(read_values(folder / values.pop("extends"), kind="published table"), values)
    layout = parse(values, Layout, source=str(path))
    if not any("published" in side for side in (*layout.rows, *layout.columns)):
        return layout
    return layout.model_copy(update={"values": matching_rows(published_rows(), layout.where)})


def _required(keys: dict[str, Any], key: str) -> str:
    if key not in keys:
        raise InputError(f"a cell of a published table needs `{key}` from its row or column, got {sorted(keys)}.")
    return _substitute(keys[key], keys)


def _substitute(text: Any, keys: dict[str, Any]) -> str:
    """Replace each {key} of `text` by the cell's value; unknown keys stay."""
    return re.sub(r"\{(\w+)\}", lambda match: str(keys.get(match[1], match[0])), str(text))
