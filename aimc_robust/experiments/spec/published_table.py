"""The published table that a spec reproduces: layout, published values and claims."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import pydantic

from aimc_robust.errors import InputError, require_known
from aimc_robust.experiments.spec.published_values import PublishedValue, find_published_value
from aimc_robust.io.toml import StrictModel

METRICS = ("accuracy", "top5", "loss")
COSTS = ("flops", "time")


@dataclass(frozen=True)
class PaperCell:
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


@dataclass(frozen=True)
class Claim:
    """A statement of the paper: `better` scores higher than `than`.

    Attributes:
        text: The statement.
        better: (labels, of which the best counts; target).
        than: The same of the other side.
    """

    text: str
    better: tuple[tuple[str, ...], str]
    than: tuple[tuple[str, ...], str]


class ClaimSide(StrictModel):
    """One side of a claim.

    Attributes:
        method: A label, or a glob of labels.
        target: Name of a target.
    """

    method: str
    target: str


class ClaimSpec(StrictModel):
    """A claim as a spec writes it; see `Claim`."""

    text: str
    better: ClaimSide
    than: ClaimSide


class PaperSpec(StrictModel):
    """The table `[paper]` of a spec.

    A cell takes each key from its row, else from its column. `{key}` in a value is replaced by the cell's key of that
    name. `published` of row and column are joined, and select one row of `figures`.

    Attributes:
        citation: The paper.
        place: Number of the table or figure.
        caption: What it shows.
        open: A point that the paper leaves open -> how it was decided here.
        where: Column of the published values -> text, for all cells.
        heading: Heading of the rows' titles.
        metric: Default metric of the cells, one of METRICS.
        relative_to: Label of the method that costs are relative to.
        columns: Tables with `title` and any of `target`, `method`, `metric`, `published`, `cost`, and further keys.
        rows: The same without `cost`.
        claims: Statements of the paper that the results can confirm.
        figures: Rows of the file of published values that `where` selects; inserted when the spec is loaded.
    """

    citation: str
    place: str
    caption: str = ""
    open: dict[str, str] = pydantic.Field(default_factory=dict)
    where: dict[str, str] = pydantic.Field(default_factory=dict)
    heading: str = "method"
    metric: str = "accuracy"
    relative_to: str = "sgd"
    columns: list[dict[str, Any]] = pydantic.Field(min_length=1)
    rows: list[dict[str, Any]] = pydantic.Field(min_length=1)
    claims: list[ClaimSpec] = pydantic.Field(default_factory=list)
    figures: list[dict[str, str]] = pydantic.Field(default_factory=list)

    def cells(self, labels: Sequence[str]) -> list[list[PaperCell]]:
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

        def side(claim_side: ClaimSide) -> tuple[tuple[str, ...], str]:
            return tuple(_matching(claim_side.method, labels)), claim_side.target

        return [Claim(claim.text, side(claim.better), side(claim.than)) for claim in self.claims]

    def check_references(self, labels: Sequence[str], targets: Sequence[str], *, partial: bool) -> None:
        """Check that every cell and claim finds its methods, its target and its published value.

        Args:
            labels: Labels of the spec's methods.
            targets: Names of the spec's targets.
            partial: Allow missing methods and targets, for a scale that leaves some out.

        Raises:
            InputError: if a cell or claim matches no method, or a key is missing.
            UnknownNameError: if a target is unknown.
        """
        references = [(cell.row, cell.methods, cell.target) for row in self.cells(labels) for cell in row]
        for claim in self.build_claims(labels):
            references += [(claim.text, *claim.better), (claim.text, *claim.than)]
        if partial:
            return
        for location, methods, target in references:
            if not methods:
                raise InputError(f"{location!r} matches none of the methods {', '.join(labels)}.")
            if target is not None:
                require_known(f"target of {location!r}", target, targets)

    def _cell(self, row: dict[str, Any], column: dict[str, Any], labels: Sequence[str]) -> PaperCell:
        keys = {**column, **row}
        for side, name in ((row, "row"), (column, "column")):
            if not isinstance(side.get("title"), str):
                raise InputError(f"a {name} of the paper's table needs a `title`, got {side!r}.")
        cost, metric = column.get("cost"), keys.get("metric", self.metric)
        if cost is not None:
            require_known("cost", cost, COSTS)
        require_known("metric", metric, METRICS)
        return PaperCell(
            row=row["title"],
            column=column["title"],
            target=None if cost else _required(keys, "target"),
            methods=tuple(_matching(_required(keys, "method"), labels)),
            metric=metric,
            cost=cost,
            published=self._published(row, column, keys),
        )

    def _published(self, row: dict[str, Any], column: dict[str, Any], keys: dict[str, Any]) -> PublishedValue | None:
        queries = [column.get("published", {}), row.get("published", {})]
        if "cost" in column:  # one value for all rows: the column's keys take precedence
            queries = queries[::-1] if queries[0] else []
        query = {key: _substitute(text, keys) for part in queries for key, text in part.items()}
        return find_published_value(self.figures, query)


def _required(keys: dict[str, Any], key: str) -> str:
    if key not in keys:
        raise InputError(f"a cell of the paper's table needs `{key}` from its row or column, got {sorted(keys)}.")
    return _substitute(keys[key], keys)


def _substitute(text: Any, keys: dict[str, Any]) -> str:
    """Replace each {key} of `text` by the cell's value; unknown keys stay."""
    return re.sub(r"\{(\w+)\}", lambda match: str(keys.get(match[1], match[0])), str(text))


def _matching(pattern: str, labels: Sequence[str]) -> list[str]:
    """Return the labels that match a label or glob, in their order."""
    return [label for label in labels if fnmatchcase(label, pattern)]
