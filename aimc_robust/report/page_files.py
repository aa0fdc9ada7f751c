"""The files of a page: HTML, Markdown, its figures, and the tables that stand beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from aimc_robust.io.atomic import atomic_write
from aimc_robust.parallel.process_pool import available_cpus, ordered_map
from aimc_robust.parallel.start_method import spawns_processes
from aimc_robust.report.html_page import render_html
from aimc_robust.report.markdown_page import render_markdown
from aimc_robust.report.page_model import Figure, Files, Page, walk

Contents = dict[str, str | bytes]
"""Path relative to the page's folder -> content."""


def page_files(page: Page, stem: str = "report") -> Contents:
    """Render a page, and make its figures and tables, in one forked process per core where processes are forked.

    Returns:
        The content of every file; the HTML is the last, as it refers to the others.
    """
    blocks = list(walk([*page.intro, *page.sections]))
    figures = [block for block in blocks if isinstance(block, Figure)]
    tables = {name: make for block in blocks if isinstance(block, Files) for name, make in block.files.items()}
    functions: list[Callable[[], Any]] = [*tables.values(), *(figure.draw for figure in figures)]
    jobs = None if spawns_processes() else max(1, min(len(available_cpus()), len(functions)))
    made = list(ordered_map(lambda number: functions[number](), range(len(functions)), jobs=jobs))
    contents: Contents = dict(zip(tables, made, strict=False))
    drawn = {id(figure): result for figure, result in zip(figures, made[len(tables) :], strict=True) if result}
    for result in drawn.values():
        svg = f'<?xml version="1.0" encoding="utf-8" standalone="no"?>\n{result.svg}'
        contents |= {f"figures/{result.name}.svg": svg, f"figures/{result.name}.png": result.png}
    return contents | {f"{stem}.md": render_markdown(page, drawn), f"{stem}.html": render_html(page, drawn)}


def write_files(folder: Path, files: Contents) -> None:
    """Write the files of a page into a folder."""
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        atomic_write(folder / name, content)
