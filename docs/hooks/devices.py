"""A page for each device card of the library, with its curves, source and limits, and a table of all."""

import io

from reference import _escaped

from aimc_robust.cli.views.devices import _drift_limits, _value_text, unit_text
from aimc_robust.devices.library import card_names, load_card
from aimc_robust.io.toml import StrictModel
from aimc_robust.plot.style import figure_style
from aimc_robust.report.figures.device import draw_card


def device_pages():
    """Return the pages and pictures of all cards, by their place in the site."""
    cards = [load_card(name) for name in card_names()]
    files = {"reference/devices/index.md": _index(cards)}
    for card in cards:
        files[f"reference/devices/{card.name}.md"] = _page(card)
        files[f"reference/devices/{card.name}.svg"] = _picture(card)
    return files


def _index(cards):
    rows = [
        f"| [{card.name}]({card.name}.md) | {_escaped(card.technology)} | {card.window[0]:g} to {card.window[1]:g} "
        f"{unit_text(card)} | {' | '.join('yes' if has else '' for has in effects(card).values())} |"
        for card in cards
    ]
    head = ["device", "technology", "window", *effects(cards[0])]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *rows]
    return (
        "# Devices of the library\n\nUse the name wherever a device is asked for: `ar.Crossbar(NAME)`, "
        '`--device NAME`, `targets = ["NAME"]`. A device of your own is a [card](../device-cards.md) too.\n\n'
        + "\n".join([*lines, ""])
    )


def effects(card):
    """Return whether a card has each kind of error."""
    return {
        "programming error": card.programming.kind != "none",
        "drift": card.has_drift,
        "read noise": card.has_read_noise,
        "stuck cells": card.stuck is not None,
    }


def _page(card):
    source, unit = card.source, unit_text(card)
    facts = {
        "technology": card.technology,
        "state": f"{card.state}, in {unit}",
        "programming window": f"{card.window[0]:g} to {card.window[1]:g} {unit}",
        "fit valid": f"{card.limits[0]:g} to {card.limits[1]:g} {unit}",
        "drift valid": _drift_limits(card),
        "source": source.citation,
        "figure": source.figure,
        "fit": source.fit,
    }
    rows = [f"| {key} | {_escaped(value)} |" for key, value in facts.items() if value]
    if source.doi:
        rows.append(f"| DOI | [{source.doi}](https://doi.org/{source.doi}) |")
    laws = [
        f"## {title}\n\n" + _law(getattr(card, key))
        for key, title in {
            "programming": "Programming error",
            "drift": "Drift",
            "read": "Read noise",
            "stuck": "Stuck cells",
        }.items()
        if getattr(card, key) is not None
    ]
    parts = [
        f"# {card.name}",
        f"![Curves of {card.name}: programming error, and read noise and drift if it has them]({card.name}.svg)",
        "| property | value |\n|---|---|\n" + "\n".join(rows),
        f"**Limits of this card.** {_escaped(source.note)}" if source.note else "",
        f"```sh\naimc-robust evaluate WEIGHTS --model NETWORK --data DATA --device {card.name} --out OUT\n```",
        *laws,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _law(law):
    formula = "\n\n".join(_escaped(" ".join(text.split())) for text in law.formula.split("\n\n"))
    values = {key: getattr(law, key) for key in type(law).model_fields}
    rows = [
        f"| `{key}` | {_escaped(_value_text(value))} |"
        for key, value in values.items()
        if value is not None and not _is_rows(value)
    ]
    tables = ["| key | value |\n|---|---|\n" + "\n".join(rows)]
    for value in filter(_is_rows, values.values()):
        keys = list(type(value[0]).model_fields)
        lines = [
            f"| {' | '.join(_escaped(_value_text(getattr(row, key))) or 'none' for key in keys)} |" for row in value
        ]
        tables.append(f"| {' | '.join(keys)} |\n" + "|---" * len(keys) + "|\n" + "\n".join(lines))
    return "\n\n".join([formula, *tables])


def _is_rows(value):
    return isinstance(value, tuple) and bool(value) and isinstance(value[0], StrictModel)


def _picture(card):
    buffer = io.BytesIO()
    with figure_style(legend_fontsize=9):
        draw_card(card).savefig(buffer, format="svg")
    return buffer.getvalue()
