"""Ids of a page's sections, by which links and citations name them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from aimc_robust.report.page_model import Block, Bullets, Grid, Page, Section, walk


def section_ids(page: Page) -> dict[int, str]:
    """Return `id` of a section's block -> its id on the page; no two are equal.

    It is the section's own id, or else made from its title and the id of the section around it, so that further
    sections elsewhere do not change it.
    """
    blocks = [*page.intro, *page.sections]
    used = {block.id for block in walk(blocks) if isinstance(block, Bullets | Section)}
    ids: dict[int, str] = {}

    def add(blocks: Iterable[Block | None], around: str) -> None:
        for block in blocks:
            if isinstance(block, Section):
                ids[id(block)] = block.id or _unused(f"{around}-{_slug(block.title)}".strip("-"), used)
                used.add(ids[id(block)])
            if isinstance(block, Grid | Section):
                add(block.blocks, ids.get(id(block), around))

    add(blocks, "")
    return ids


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "section"


def _unused(name: str, used: set[str]) -> str:
    number, unused = 1, name
    while unused in used:
        number += 1
        unused = f"{name}-{number}"
    return unused
