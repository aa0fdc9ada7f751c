"""Output of `coverage`: what is analog, and a table of arrays for each device."""

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console

from aimc_robust.cli.printed_table import print_table
from aimc_robust.report.mapping_table import mapping_rows


def show(sentence: str, mappings: Iterable[Mapping[str, Any]]) -> None:
    """Print the sentence, and the arrays of each layer on each device."""
    Console().print(sentence, markup=False, highlight=False, soft_wrap=True)
    for mapping in mappings:
        rows, title = mapping_rows(mapping), f"\nArrays of {', '.join(mapping['targets'])}"
        print_table([{head: str(cell).replace("\n", "  ") for head, cell in row} for row in rows], title=title)
