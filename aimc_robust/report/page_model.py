"""The model of a page: sections of prose, tables and figures, which `html_page` and `markdown_page` render.

Text is plain but for `**strong**`, code in backticks, and links to a part of the page, a page beside it or a DOI. The
renderers escape all else, so no text of a user becomes HTML or Markdown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from aimc_robust.report.rendering import RenderedFigure

_MARKUP = re.compile(r"\*\*(.+?)\*\*|`([^`]+)`|\[([^\]]+)\]\((#[\w-]+|https://doi\.org/\S+|[\w/-]+\.html)\)")


class Span(NamedTuple):
    """A piece of text in one style; `link` is an address."""

    text: str
    style: Literal["", "strong", "code"] = ""
    link: str = ""


def spans(text: str) -> Iterator[Span]:
    """Yield the pieces of a text."""
    position = 0
    for match in _MARKUP.finditer(text):
        yield Span(text[position : match.start()])
        strong, code, label, link = match.groups(default="")
        yield Span(strong or code or label, "strong" if strong else "code" if code else "", link)
        position = match.end()
    yield Span(text[position:])


def codes(names: Iterable[object]) -> str:
    """Return names as code, separated by commas."""
    return ", ".join(f"`{name}`" for name in names)


@dataclass(frozen=True)
class Prose:
    """A paragraph that is not plain: a `warning` stands out, a `note` is small, a `question` is large."""

    text: str
    kind: Literal["note", "warning", "question"] = "note"


@dataclass(frozen=True)
class Bullets:
    """A list; `id` is what links refer to."""

    items: Sequence[str]
    kind: Literal["", "note", "warning", "summary"] = ""
    title: str = ""
    id: str = ""


@dataclass(frozen=True)
class Code:
    """Preformatted text, such as a spec."""

    text: str


@dataclass(frozen=True)
class Cell:
    """A table's cell that is colored by a mark, has words after its first line, or is sorted by another value."""

    text: str
    mark: Literal["", "best", "better", "within", "beyond"] = ""
    value: float | None = None
    tags: Sequence[str] = ()


Row = Sequence[tuple[str, str | Cell]]
"""(head of the column, cell) of each column."""


@dataclass(frozen=True)
class Table:
    """A table that a click on a column's head sorts. The filters know the columns `method` and `target`.

    Attributes:
        name: What it shows, for screen readers.
        rows: The rows; at least one. The first line of a head or cell is followed by small lines.
        kind: `results` and `paper` keep their first column in view; `claims` is a list on phones.
        across: What the filters know the columns after the first as.
        heads: Number of cells that head each row.
    """

    name: str
    rows: Sequence[Row]
    kind: Literal["", "results", "paper", "claims"] = ""
    across: Literal["", "method", "target"] = ""
    heads: int = 1


@dataclass(frozen=True)
class Figure:
    """A figure; `draw` returns None if there is nothing to draw. `label` is for screen readers.

    One that is not `in_markdown` is on the HTML page only: a table there says the same.
    """

    draw: Callable[[], RenderedFigure | None]
    label: str
    caption: str = ""
    in_markdown: bool = True


@dataclass(frozen=True)
class Files:
    """Files that are written beside the page, and named in it: path relative to the page -> function of its content."""

    files: Mapping[str, Callable[[], str]]


@dataclass(frozen=True)
class Filters:
    """Boxes that choose the methods and targets which a page shows."""

    methods: Sequence[str]
    targets: Sequence[str]


@dataclass(frozen=True)
class Legend:
    """A legend of several figures: method -> SVG sample of its line, and what other lines are."""

    lines: Mapping[str, str]
    others: str = ""


@dataclass(frozen=True)
class Grid:
    """Blocks side by side where the page is wide enough; `panels` are narrower than `columns`."""

    blocks: Sequence[Block | None]
    kind: Literal["columns", "panels"] = "columns"


@dataclass(frozen=True)
class Section:
    """Blocks under a title; a block or section that is None has no data.

    Attributes:
        title: The title, smaller in a section within a section.
        blocks: The blocks.
        id: What links refer to.
        target: The target that the filters know the section as.
        folded: Show the title only, until a click on it.
    """

    title: str
    blocks: Sequence[Block | None]
    id: str = ""
    target: str = ""
    folded: bool = False


Block = str | Prose | Bullets | Code | Table | Figure | Files | Filters | Legend | Grid | Section


@dataclass(frozen=True)
class Page:
    """A page: its title, what kind of page it is, blocks below the title, and sections."""

    title: str
    kicker: str
    intro: Sequence[Block | None]
    sections: Sequence[Section | None]


def walk(blocks: Iterable[Block | None]) -> Iterator[Block]:
    """Yield all blocks, those within others included, in order."""
    for block in blocks:
        if block is not None:
            yield block
        if isinstance(block, Grid | Section):
            yield from walk(block.blocks)
