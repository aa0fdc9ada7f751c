"""Device cards in the terminal."""

from rich.console import Console
from rich.table import Table

from aimc_robust.devices import Card, card_names, load_card

BAR = 40


def show_all() -> None:
    """A table of the library."""
    table = Table(title="Devices", title_justify="left", box=None, pad_edge=False)
    for column in ("name", "technology", "window"):
        table.add_column(column, overflow="fold")
    for card in map(load_card, card_names()):
        low, high = card.range.min, card.range.max
        table.add_row(card.name, card.technology, f"{low:g} to {high:g} {_unit(card)}")
    Console().print(table)


def show(name: str) -> None:
    """One card: all that it says, and its error as a bar chart over the window."""
    card = load_card(name)
    console = Console(highlight=False)
    low, high = card.range.limits
    source = card.source
    facts = {
        "technology": card.technology,
        "window": f"{card.range.min:g} to {card.range.max:g} {_unit(card)} ({card.state})",
        "fit valid": f"{low:g} to {high:g} {_unit(card)}",
        "source": ", ".join(filter(None, [source.citation, source.figure, source.doi and f"doi:{source.doi}"])),
        "fit": source.fit,
        "note": source.note,
    }
    console.print(card.name, style="bold")
    table = Table(box=None, show_header=False, pad_edge=False)
    for key, value in facts.items():
        if value:
            table.add_row(key, value)
    console.print(table)
    console.print(f"\nprogramming error: standard deviation over the target state, both in {_unit(card)}")
    console.print("\n".join(_curve(card)))


def _unit(card: Card) -> str:
    return "of full scale" if card.unit == "1" else card.unit


def _curve(card: Card, points: int = 11) -> list[str]:
    import torch

    from aimc_robust.devices.statistics import programming_std

    state = torch.linspace(card.range.min, card.range.max, points, dtype=torch.float64)
    std = programming_std(card, state)
    full = float(std.max()) or 1.0
    return [
        f"{float(s):10.4g}  {float(d):8.4g}  {'█' * round(BAR * float(d) / full)}"
        for s, d in zip(state, std, strict=True)
    ]
