"""Write a device card as TOML text."""

from collections.abc import Iterable
from typing import Any

from aimc_robust.devices.card import Card
from aimc_robust.io.toml import toml_value


def card_toml(card: Card, comments: Iterable[str] = ()) -> str:
    """Format a card as TOML.

    Args:
        card: The card.
        comments: Lines written before it as comments.
    """
    lines = [f"# {_printable(comment)}".rstrip() for comment in comments]
    values = card.model_dump(exclude_none=True, exclude_defaults=True)
    lines += [f"{key} = {toml_value(value)}" for key, value in values.items() if not isinstance(value, dict)]
    for key, table in values.items():
        if isinstance(table, dict):
            lines += _table_lines(key, table)
    return "\n".join(lines) + "\n"


def _table_lines(name: str, table: dict[str, Any]) -> list[str]:
    """Lines of a table; a list of tables within it follows as an array of tables."""
    table = {key: table[key] for key in sorted(table, key=lambda key: key != "kind")}
    arrays = {key: rows for key, rows in table.items() if isinstance(rows, tuple) and isinstance(rows[0], dict)}
    lines = ["", f"[{name}]", *[f"{key} = {toml_value(value)}" for key, value in table.items() if key not in arrays]]
    for key, rows in arrays.items():
        for row in rows:
            lines += ["", f"[[{name}.{key}]]", *[f"{inner} = {toml_value(value)}" for inner, value in row.items()]]
    return lines


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)
