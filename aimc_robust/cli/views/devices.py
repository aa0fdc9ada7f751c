"""Output of `devices`: the library of device cards, or one card."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from aimc_robust.devices.card import Card
from aimc_robust.devices.laws.base import Law
from aimc_robust.devices.library import card_names, load_card
from aimc_robust.devices.limits import time_text
from aimc_robust.io.toml import StrictModel


def show_library() -> None:
    """Print a table of all cards of the library."""
    table = Table(title="Devices", title_justify="left", box=None, pad_edge=False)
    for column in ("name", "technology", "window", "drift", "read noise"):
        table.add_column(column, overflow="fold", no_wrap=column == "name")
    for card in map(load_card, card_names()):
        low, high = card.window
        effects = ["yes" if present else "" for present in (card.has_drift, card.has_read_noise)]
        table.add_row(card.name, card.technology, f"{low:g} to {high:g} {unit_text(card)}", *effects)
    Console().print(table)


def show_card(card: Card, plot: Path | None = None) -> None:
    """Print all tables of a card, its errors over the window, its drift, and the path of a figure that was written."""
    from aimc_robust.cli.views.device_charts import charts

    console = Console(highlight=False, markup=False)
    console.print(card.name, style="bold")
    console.print(_facts(card))
    for key in ("programming", "drift", "read", "stuck"):
        law = getattr(card, key)
        if law is not None:
            console.print(f"\n[{key}]", style="bold")
            _print_law(console, law)
    for title, lines in charts(card):
        console.print(f"\n{title}")
        console.print("\n".join(lines))
    if plot is not None:
        console.print(f"\nplot: {plot}", soft_wrap=True)


def unit_text(card: Card) -> str:
    """Return the unit of a card's states as it is read after a number."""
    return "of full scale" if card.unit == "1" else card.unit


def _facts(card: Card) -> Table:
    low, high = card.limits
    source = card.source
    facts = {
        "technology": card.technology,
        "window": f"{card.window[0]:g} to {card.window[1]:g} {unit_text(card)} ({card.state})",
        "fit valid": f"{low:g} to {high:g} {unit_text(card)}",
        "drift valid": _drift_limits(card),
        "source": ", ".join(filter(None, [source.citation, source.figure, source.doi and f"doi:{source.doi}"])),
        "fit": source.fit,
        "note": source.note,
    }
    table = Table(box=None, show_header=False, pad_edge=False)
    for key, value in facts.items():
        if value:
            table.add_row(key, value)
    return table


def _drift_limits(card: Card) -> str:
    if card.drift_limits_s is None:
        return "no drift in this card; valid at time 0"
    low, high = card.drift_limits_s
    text = f"{low:g} to {high:g} s ({time_text(high)})"
    if card.drift_state_limits is not None:
        lowest, highest = card.drift_state_limits
        text += f", {lowest:g} to {highest:g} {unit_text(card)}"
    return text


def _print_law(console: Console, law: Law) -> None:
    """Print the formula and every key of one table of the card."""
    for paragraph in law.formula.split("\n\n"):
        console.print(paragraph.replace("\n", " "))
    keys = Table(box=None, show_header=False, pad_edge=False)
    tables = []
    for key in sorted(type(law).model_fields, key=lambda key: key != "kind"):
        value = getattr(law, key)
        if isinstance(value, tuple) and isinstance(value[0], StrictModel):
            tables.append(_rows(key, value))
        elif value is not None:
            keys.add_row(key, _value_text(value))
    console.print(keys)
    for table in tables:
        console.print(table)


def _rows(key: str, rows: tuple[StrictModel, ...]) -> Table:
    """A table of tables: a row each, a column per key."""
    table = Table(box=None, pad_edge=False)
    names = list(type(rows[0]).model_fields)
    for name in names:
        table.add_column(f"{key} {name}" if name == names[0] else name, overflow="fold")
    for row in rows:
        values = [getattr(row, name) for name in names]
        table.add_row(*("none" if value == () else _value_text(value) for value in values))
    return table


def _value_text(value: object) -> str:
    if isinstance(value, StrictModel):
        inner = {key: getattr(value, key) for key in type(value).model_fields if key != "kind"}
        return ", ".join(f"{key} {_value_text(item)}" for key, item in inner.items())
    if isinstance(value, tuple):
        return ", ".join(f"{item:g}" for item in value)
    return f"{value:.7g}" if isinstance(value, float) else str(value)
