"""Write a device card as TOML text."""

from collections.abc import Iterable
from typing import Any

import tomli_w

from aimc_robust.devices.card import Card


def card_toml(card: Card, comments: Iterable[str] = ()) -> str:
    """Format a card as TOML.

    Args:
        card: The card.
        comments: Lines written before it as comments.
    """
    lines = [f"# {_printable(comment)}".rstrip() for comment in comments]
    values = card.model_dump(exclude_none=True, exclude_defaults=True)
    return "\n".join([*lines, tomli_w.dumps(_kind_first(values))])


def _kind_first(value: Any) -> Any:
    """Return tables with the key `kind` before the keys that depend on it."""
    if isinstance(value, dict):
        return {key: _kind_first(value[key]) for key in sorted(value, key=lambda key: key != "kind")}
    return [_kind_first(item) for item in value] if isinstance(value, list | tuple) else value


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)
