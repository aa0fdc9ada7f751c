"""Device cards in the terminal."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from aimc_robust.devices.card import Card
from aimc_robust.devices.laws.base import Law
from aimc_robust.devices.library import card_names, load_card
from aimc_robust.devices.limits import time_text
from aimc_robust.errors import InputError
from aimc_robust.io.toml import StrictModel

SUFFIXES = (".png", ".svg", ".pdf")


def show_all() -> None:
    """A table of the library."""
    table = Table(title="Devices", title_justify="left", box=None, pad_edge=False)
    for column in ("name", "technology", "window", "drift", "read noise"):
        table.add_column(column, overflow="fold", no_wrap=column == "name")
    for card in map(load_card, card_names()):
        low, high = card.range.min, card.range.max
        effects = ["yes" if part is not None else "" for part in (card.drift, card.read)]
        table.add_row(card.name, card.technology, f"{low:g} to {high:g} {unit_text(card)}", *effects)
    Console().print(table)


def show(name: str, plot: Path | None = None) -> None:
    """One card: all that it says, its errors over the window and its ageing; `plot`: the same as a picture."""
    if plot is not None and plot.suffix.lower() not in SUFFIXES:
        raise InputError(f"a plot is written as {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}, got {str(plot)!r}.")
    card = load_card(name)
    if plot is not None:
        from aimc_robust.report.figures.device_card import save

        save(card, plot)
    console = Console(highlight=False, markup=False)
    console.print(card.name, style="bold")
    console.print(_facts(card))
    for key in ("programming", "drift", "read", "stuck"):
        law = getattr(card, key)
        if law is not None:
            console.print(f"\n[{key}]", style="bold")
            _print_law(console, law)

    from aimc_robust.cli.views.device_charts import charts

    for title, lines in charts(card):
        console.print(f"\n{title}")
        console.print("\n".join(lines))
    if plot is not None:
        console.print(f"\nplot: {plot}", soft_wrap=True)


def unit_text(card: Card) -> str:
    """The unit as read after a number."""
    return "of full scale" if card.unit == "1" else card.unit


def _facts(card: Card) -> Table:
    low, high = card.range.limits
    source = card.source
    facts = {
        "technology": card.technology,
        "window": f"{card.range.min:g} to {card.range.max:g} {unit_text(card)} ({card.state})",
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
    if card.drift is None:
        return "no drift in this card: use it at time 0"
    low, high = card.drift.limits_s
    text = f"{low:g} to {high:g} s ({time_text(high)})"
    if card.drift.state_limits is not None:
        least, most = card.drift.state_limits
        text += f", {least:g} to {most:g} {unit_text(card)}"
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
