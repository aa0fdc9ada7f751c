"""Output of `coverage`: what is analog, and a table of arrays for each device."""

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from aimc_robust.report.mapping_section import mapping_rows

FILE_WIDTH = 160  # width of a table that is written to a file or pipe, where nothing needs to wrap [characters]


def show(sentence: str, mappings: Iterable[Mapping[str, Any]]) -> None:
    """Print the sentence, and the arrays of each layer on each device."""
    console = Console()
    console.print(sentence, markup=False, highlight=False, soft_wrap=True)
    for mapping in mappings:
        rows, title = mapping_rows(mapping), f"\nArrays of {', '.join(mapping['targets'])}"
        table = Table(box=None, pad_edge=False, title=title, title_justify="left")
        for head, _ in rows[0]:
            table.add_column(head.replace("\n", " "), justify="left" if head == "layer" else "right")
        for row in rows:
            table.add_row(*(str(cell).replace("\n", "  ") for _, cell in row))
        (console if console.is_terminal else Console(width=FILE_WIDTH)).print(table, markup=False, highlight=False)
