"""A page as one self-contained HTML file; everything that is text is escaped here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.metadata import PackageNotFoundError, metadata
from importlib.resources import files

import aimc_robust
from aimc_robust.report import page_model as model
from aimc_robust.report.rendering import Figures, RenderedFigure
from aimc_robust.report.section_ids import section_ids


@dataclass(frozen=True)
class _Context:
    figures: Figures
    ids: Mapping[int, str]


def render_html(page: model.Page, figures: Figures) -> str:
    """Render a page and its drawn figures; the file needs no other, and is complete without JavaScript.

    Each heading has a link to its section. The head links to the documentation, if the package states its address.
    """
    context, url = _Context(figures, section_ids(page)), _documentation_url()
    parts = {
        "title": escape(page.title),
        "style": _asset("page.css"),
        "documentation": f"<a{_attributes(href=url)}>Documentation</a> · " if url else "",
        "kicker": escape(f"aimc-robust {aimc_robust.__version__} · {page.kicker}"),
        "intro": _blocks(page.intro, context, 2),
        "sections": _blocks(page.sections, context, 2),
        "script": _asset("page.js"),
    }
    head, *rest = _asset("page.html").split("{{ ")
    return head + "".join(parts[name] + text for name, text in (part.split(" }}", 1) for part in rest))


def _documentation_url() -> str | None:
    try:
        addresses = metadata("aimc-robust").get_all("Project-URL", [])
    except PackageNotFoundError:
        return None
    return next((text.partition(", ")[2] for text in addresses if text.startswith("Documentation, ")), None)


def _asset(name: str) -> str:
    return files("aimc_robust.report").joinpath("templates", name).read_text(encoding="utf-8")


def _blocks(blocks: Iterable[model.Block | None], context: _Context, level: int) -> str:
    return "\n".join(filter(None, (_block(block, context, level) for block in blocks if block is not None)))


def _block(block: model.Block, context: _Context, level: int) -> str:
    match block:
        case str():
            return f"<p>{_text(block)}</p>"
        case model.Prose():
            return f'<p class="{block.kind}">{_text(block.text)}</p>'
        case model.Bullets():
            items = "\n".join(f"<li>{_text(item)}</li>" for item in block.items)
            title = f"<b>{_text(block.title)}</b>\n" if block.title else ""
            return f"<div{_attributes(class_=block.kind, id=block.id)}>{title}<ul>\n{items}\n</ul></div>"
        case model.Code():
            return f"<pre>{escape(block.text)}</pre>"
        case model.Table():
            return _table(block)
        case model.Figure():
            return _figure(block, context.figures.get(id(block)))
        case model.Files():
            return f'<p class="note">Files: {_text(model.codes(block.files))}.</p>'
        case model.Filters():
            return _filters(block)
        case model.Legend():
            lines = [f"<span{_attributes(data_method=m)}>{line} {escape(m)}</span>" for m, line in block.lines.items()]
            return f'<p class="legend">{" ".join([*lines, escape(block.others)])}</p>'
        case model.Grid():
            inner = _blocks(block.blocks, context, level)
            return f'<div class="{block.kind}">\n{inner}\n</div>' if inner else ""
        case model.Section():
            inner = _blocks(block.blocks, context, level + 1)
            if not inner:
                return ""
            place = context.ids[id(block)]
            label = "Link to this section"
            anchor = f"<a{_attributes(class_='anchor', href=f'#{place}', aria_label=label)}>#</a>"
            title = f"{_text(block.title)} {anchor}"
            if block.folded:
                return f"<details{_attributes(id=place)}><summary>{title}</summary>\n{inner}\n</details>"
            attributes = _attributes(id=place, data_target=block.target)
            return f"<section{attributes}>\n<h{level}>{title}</h{level}>\n{inner}\n</section>"


def _figure(block: model.Figure, drawn: RenderedFigure | None) -> str:
    if drawn is None:
        return ""
    svg = drawn.svg.replace("<svg", f'<svg role="img"{_attributes(aria_label=block.label)}', 1)
    caption = f"<figcaption>{_text(block.caption)}</figcaption>" if block.caption else ""
    return f"<figure>{svg}{caption}</figure>"


def _table(table: model.Table) -> str:
    heads = [head for head, _ in table.rows[0]]
    first = [head.split("\n")[0] for head in heads]
    known = [{f"data_{table.across}": name} if table.across and i else {} for i, name in enumerate(first)]
    head = "".join(
        f'<th scope="col"{_attributes(**names)}>{_lines(h)}</th>' for h, names in zip(heads, known, strict=True)
    )
    rows = "\n".join(_row(row, known, table.heads) for row in table.rows)
    region = _attributes(class_="scroll", tabindex="0", role="region", aria_label=table.name)
    return (
        f"<div{region}><table{_attributes(class_=table.kind)}>\n<thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{rows}\n</tbody></table></div>"
    )


def _row(row: model.Row, known: Sequence[Mapping[str, str]], heads: int) -> str:
    names, texts = {}, []
    for number, (head, content) in enumerate(row):
        cell = content if isinstance(content, model.Cell) else model.Cell(content)
        if head in ("method", "target"):
            names[f"data_{head}"] = cell.text.split("\n")[0]
        value = "" if cell.value is None else repr(cell.value)
        attributes = _attributes(class_=cell.mark, data_value=value, **known[number])
        tag, scope = ("th", ' scope="row"') if number < heads else ("td", "")
        texts.append(f"<{tag}{scope}{attributes}>{_lines(cell.text, cell.tags)}</{tag}>")
    return f"<tr{_attributes(**names)}>{''.join(texts)}</tr>"


def _lines(text: str, tags: Iterable[str] = ()) -> str:
    first, *notes = text.split("\n")
    words = "".join(f' <span class="tag {tag}">{escape(tag)}</span>' for tag in tags)
    return _text(first) + words + "".join(f" <small>{_text(note)}</small>" for note in notes if note)


def _filters(block: model.Filters) -> str:
    kinds = [("method", block.methods), ("target", block.targets)]
    fieldsets = "\n".join(_fieldset(kind, names) for kind, names in kinds if len(names) > 1)
    label = "Methods and targets shown in the tables"
    return (
        f'<form class="filters" hidden aria-label="{label}">\n{fieldsets}\n<p class="note" role="status"></p>\n</form>'
    )


def _fieldset(kind: str, names: Iterable[str]) -> str:
    buttons = " ".join(f'<button type="button" data-set="{name}">{name}</button>' for name in ("all", "none"))
    boxes = [f'<label><input type="checkbox"{_attributes(value=n)} checked> {escape(n)}</label>' for n in names]
    return f'<fieldset data-kind="{kind}"><legend>{kind}s {buttons}</legend>\n' + "\n".join([*boxes, "</fieldset>"])


def _text(text: str) -> str:
    return "".join(map(_span, model.spans(text)))


def _span(span: model.Span) -> str:
    text = f"<{span.style}>{escape(span.text)}</{span.style}>" if span.style else escape(span.text)
    return f"<a{_attributes(href=span.link)}>{text}</a>" if span.link else text


def _attributes(**values: str) -> str:
    """HTML attributes of those values that are not empty; `_` stands for `-`."""
    names = {name: name.removesuffix("_").replace("_", "-") for name in values}
    return "".join(f' {names[name]}="{escape(value)}"' for name, value in values.items() if value)
