"""A table of results on a terminal: whole where it has room, otherwise in parts below each other."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

FILE_WIDTH = 200  # of a table that is written to a file or pipe, where nothing needs to wrap [characters]
GAP = 2  # between two columns
MIN_NAME, MIN_HEAD = 16, 14  # characters of a name, or of a heading, in a line

Rows = Sequence[Mapping[str, str]]
"""Column -> text of each row; all rows have the same columns."""


def print_table(rows: Rows, *, title: str = "", names: int = 1) -> None:
    """Print a table; its first `names` columns, one or two, name a row, the others are numbers.

    A table that is wider than the terminal is printed in several, each with the names; the first of two names is then a
    line above its rows, or left out if all rows have the same. Without a terminal, and without the variable COLUMNS,
    the width is that of a file.
    """
    console = Console(markup=False, highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(markup=False, highlight=False, width=FILE_WIDTH)
    if title:
        console.print(title, style="italic", soft_wrap=True)
    columns = list(rows[0])
    widths = {column: _width(rows, column) for column in columns}
    if sum(widths.values()) + GAP * (len(columns) - 1) <= console.width:
        console.print(_table(rows, columns, widths, names))
        return
    name, numbers = columns[names - 1], columns[names:]
    is_grouped = names > 1 and len({row[columns[0]] for row in rows}) > 1
    widths = {column: _width(rows, column, least_head=0) for column in columns}
    widths[name] = min(widths[name] + GAP * is_grouped, max(MIN_NAME, console.width // 3))
    for number, part in enumerate(_parts(numbers, widths, console.width - widths[name])):
        if number:
            console.print()
        console.print(_table(rows, [name, *part], widths, 1, group=columns[0] if is_grouped else None))


def _width(rows: Rows, column: str, least_head: int = MIN_HEAD) -> int:
    lines = [line for row in rows for line in row[column].splitlines()]
    return max(*map(len, [*lines, *column.split()]), min(len(column), least_head))


def _parts(columns: Sequence[str], widths: dict[str, int], room: int) -> Iterator[list[str]]:
    """Yield columns that fit into the room beside the names; one that is wider alone is made narrower."""
    part: list[str] = []
    for column in columns:
        widths[column] = min(widths[column], room - GAP)
        if part and sum(widths[other] + GAP for other in [*part, column]) > room:
            yield part
            part = []
        part.append(column)
    yield part


def _table(
    rows: Rows, columns: Sequence[str], widths: Mapping[str, int], names: int, group: str | None = None
) -> Table:
    """Return a table of some columns; `group` is a column whose value is a line above its rows."""
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
    for number, column in enumerate(columns):
        head = textwrap.fill(" ".join(column.split()), widths[column], break_long_words=False)
        justify: Literal["left", "right"] = "left" if number < names else "right"
        table.add_column(Text(head, justify=justify), justify=justify, overflow="fold", width=widths[column])
    above = None
    for row in rows:
        if group is not None and row[group] != above:
            above = row[group]
            table.add_row(Text(textwrap.fill(above, widths[columns[0]]), style="bold"))
        first, *others = (row[column] for column in columns)
        indent = " " * GAP if group else ""
        name = textwrap.fill(first, widths[columns[0]], initial_indent=indent, subsequent_indent=indent)
        table.add_row(Text(name if "\n" not in first else first), *map(Text, others))
    return table
