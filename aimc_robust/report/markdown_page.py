"""A page as Markdown; no text of a user can become a heading, a table or HTML in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from aimc_robust.report import page_model as model
from aimc_robust.report.rendering import Figures


def render_markdown(page: model.Page, figures: Figures) -> str:
    """Render a page, without what only a browser can do; a drawn figure is its file's name and its caption."""
    blocks = _blocks([*page.intro, *page.sections], figures, 2)
    return "\n\n".join([f"# {_text(page.title)}", *blocks]) + "\n"


def markdown_table(rows: Sequence[model.Row]) -> str:
    """Return a table as Markdown; the lines of a cell are separated by `<br>`."""
    lines = [[head for head, _ in rows[0]], ["---"] * len(rows[0])]
    lines += [[_cell(cell) if isinstance(cell, model.Cell) else cell for _, cell in row] for row in rows]
    return "\n".join("| " + " | ".join(map(_lines, line)) + " |" for line in lines)


def _lines(cell: str) -> str:
    lines = (_text(line).strip().replace("|", r"\|") for line in cell.split("\n"))
    return "<br>".join(filter(None, lines))


def _cell(cell: model.Cell) -> str:
    first, *notes = cell.text.split("\n")
    first = f"**{first}**" if cell.mark == "best" else first
    return "\n".join([" ".join([first, *cell.tags]), *notes])


def _escape(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    text = re.sub(r"[\\`*~]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", re.sub(r"\s+", " ", text))
    text = re.sub(r"&(?=#?\w+;)", "&amp;", text)
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text).replace("](", r"]\(")


def _blocks(blocks: Iterable[model.Block | None], figures: Figures, level: int) -> list[str]:
    return [part for block in blocks if block is not None for part in _block(block, figures, level)]


def _block(block: model.Block, figures: Figures, level: int) -> list[str]:
    match block:
        case str():
            return [_paragraph(block)]
        case model.Prose():
            return [f"{'> ' if block.kind == 'warning' else ''}{_paragraph(block.text)}"]
        case model.Bullets():
            title = [f"**{_text(block.title)}**"] if block.title else []
            return [*title, "\n".join(f"- {_paragraph(item)}" for item in block.items)]
        case model.Code():
            fence = _fence(block.text, 3)
            return [f"{fence}\n{block.text.rstrip()}\n{fence}"]
        case model.Table():
            return [markdown_table(block.rows)]
        case model.Files():
            return [f"Files: {_text(model.codes(block.files))}."]
        case model.Grid():
            return _blocks(block.blocks, figures, level)
        case model.Figure():
            drawn = figures.get(id(block)) if block.in_markdown else None
            return [f"Figure `figures/{drawn.name}.svg`: {_text(block.caption or block.label)}"] if drawn else []
        case model.Section():
            inner = _blocks(block.blocks, figures, level + 1)
            return [f"{'#' * level} {_text(block.title)}", *inner] if inner else []
        case _:
            return []


def _paragraph(text: str) -> str:
    """Text whose beginning is no mark of a heading, list, quotation or link."""
    return re.sub(r"^\s*(\d*)(?=[#>+=\-\[]|[.)]\s)", r"\1\\", _text(text))


def _text(text: str) -> str:
    return "".join(map(_span, model.spans(text)))


def _span(span: model.Span) -> str:
    text = _escape(span.text)
    if span.style == "code":
        fence = _fence(span.text, 1)
        text = f"{fence}{' '.join(span.text.split())}{fence}"
    text = f"**{text}**" if span.style == "strong" else text
    return f"[{text}]({span.link})" if span.link and not span.link.startswith("#") else text


def _fence(text: str, shortest: int) -> str:
    """More backticks than the text has in a row."""
    return "`" * max(shortest, 1 + max(map(len, re.findall("`+", text)), default=0))
