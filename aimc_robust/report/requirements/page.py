"""The page of device requirements, requirements.html: a list of sections, each a function of the requirements."""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path

import pandas as pd
import tomli_w
from matplotlib.figure import Figure as MatplotlibFigure

from aimc_robust.devices.card import Card
from aimc_robust.devices.limits import time_text
from aimc_robust.evaluation.requirements.quantity_search import TOGETHER
from aimc_robust.evaluation.requirements.result import DeviceRequirements
from aimc_robust.plot.style import COLORS, figure_style
from aimc_robust.report.formatting import format_significant
from aimc_robust.report.page_files import page_files, write_files
from aimc_robust.report.page_model import Block, Code, Figure, Page, Prose, Section, Table
from aimc_robust.report.rendering import RenderedFigure, render_figure
from aimc_robust.report.requirements.command import CARD
from aimc_robust.report.requirements.text import (
    STATUS,
    effects,
    ideal_text,
    level_text,
    limit_text,
    loss_text,
    margin_text,
    setting_text,
    yield_text,
)

NUMBERS = "requirements.json"


def write_requirements(found: DeviceRequirements, folder: Path, subject: str, command: str | None = None) -> Path:
    """Write page, numbers and the card of all errors together into a folder; return the path of requirements.html.

    `subject` says which model and data they are of; `command` is from `evaluate_command`.
    """
    page = Page(
        "Device requirements",
        "requirements",
        [Prose(found.sentence, "question"), f"{subject}. {setting_text(found)}"],
        [levels(found), budget_card(found, command), states(found), devices(found)],
    )
    files = page_files(page, "requirements")
    numbers = {"subject": subject, **found.to_json()}
    files = {NUMBERS: json.dumps(numbers, indent=1, allow_nan=False), **files}
    if (card := found.card()) is not None:
        files = {CARD: card_text(card), **files}
    folder.mkdir(parents=True, exist_ok=True)
    write_files(folder, files)
    return folder / "requirements.html"


def card_text(card: Card) -> str:
    """Return a card as a TOML file has it."""
    return tomli_w.dumps(card.model_dump(mode="json", exclude_none=True))


def levels(found: DeviceRequirements) -> Section:
    """Show the level of each quantity alone, and in the budget of all."""
    rows = [
        [
            ("error", str(row["title"])),
            ("limit", limit_text(found, row)),
            ("second order", level_text(found, row, row["predicted"])),
            ("chips that keep it\n95 % bound of the yield", yield_text(row)),
            ("status", STATUS[row["status"]]),
            (f"all together\n{_scale_text(found)}", level_text(found, row, row[TOGETHER])),
        ]
        for row in found.table.to_dict("records")
    ]
    searched = set(found.table["quantity"])
    note = (
        "limit: of this error alone, all else ideal; neighbouring levels of the search are 9 % apart. second order: "
        "the level at which the predicted loss equals that at the limit of the first error"
        + ("; for read noise that of a programming error of the same size" if "read-noise" in searched else "")
        + ("; for compensated drift that of the spread of its exponent" if "drift-compensated" in searched else "")
        + ". all together: a budget in which one error of each kind acts at once, all scaled by one factor. Errors "
        "add: where they are independent, K of them share the variance, and each has 1 / sqrt(K) of its limit; a "
        "fraction of stuck devices scales with the square of the factor, and each bit of a converter stands for a "
        "factor of 2."
    )
    return Section("How large may each error be", [Table("Requirements", rows), Prose(note)])


def _scale_text(found: DeviceRequirements) -> str:
    return "" if math.isnan(found.scale) else f"{format_significant(found.scale, 2)} × alone"


def budget_card(found: DeviceRequirements, command: str | None = None) -> Section | None:
    """Show the budget of all errors together as a device card, and how to evaluate it."""
    card, budget, arrays = found.card(), found.together, found.template.arrays
    if card is None or budget is None:
        return None
    conditions = [f"arrays of {arrays.rows or 'unlimited'} rows and {arrays.columns or 'unlimited'} columns"]
    bits = {"ADC": budget.adc_bits, "DAC": budget.dac_bits}
    conditions += [f"{count} bits in each {name}" for name, count in bits.items() if count]
    if budget.drifts:
        compensation = "with" if budget.compensates else "without"
        conditions.append(f"{compensation} global drift compensation, {time_text(found.time_s)} after programming")
    ideal = ideal_text(found, effects(found, together=True))
    without = f" Ideal in it, as not searched or without a confirmed limit: {ideal}." if ideal else ""
    text = (
        f"A device that a design can aim at: all errors of the last column at once, as the card `{CARD}`, which every "
        f"command takes as `--device`. The budget is met under these conditions, which no card holds: "
        f"{', '.join(conditions)}.{without}"
    )
    how: list[Block] = [Prose("To evaluate it under them, with the yield:"), Code(command)] if command else []
    return Section("The budget of all errors as a device card", [text, *how, Code(card_text(card).strip())])


def states(found: DeviceRequirements) -> Section | None:
    """Show where on the states the programming error costs, and the budget that this leaves."""
    table = found.states
    if table is None:
        return None
    total = table["sensitivity"].clip(lower=0.0).sum()
    rows = [
        [
            ("state\n% of the window's top", f"{100 * row['low']:.1f} to {100 * row['high']:.1f}"),
            ("devices", f"{row['devices_percent']:.1f} %"),
            ("part of the cost\nof an equal error", f"{100 * max(row['sensitivity'], 0.0) / total:.1f} %"),
            ("budget\n% of the window's top", format_significant(100 * row["std"], 2)),
        ]
        for row in table.to_dict("records")
    ]
    note = (
        "part of the cost: how much the error of the devices of these states adds to the loss, to second order, if "
        "the error has the same standard deviation at every state. budget: the standard deviation at which all rows "
        "cost the same, scaled to what simulated chips tolerate. States that cost nothing have the largest value, "
        "which is not a requirement."
    )
    figure = Figure(partial(_draw_states, table), "Largest standard deviation of the programming error over the state")
    return Section("Programming error over the state", [Table("States", rows), figure, Prose(note)])


def devices(found: DeviceRequirements) -> Section | None:
    """Show which devices meet the requirement."""
    if found.devices.empty:
        return None
    rows = [
        [
            ("device", f"{row['device']}\n{_time_text(row)}".rstrip()),
            ("requirement", str(row["judgement"])),
            (
                "chips that keep it\none-sided 95 % bounds",
                f"{row['passing']} of {row['chips']}\n{row['yield_low']:.1f} %, {row['yield_high']:.1f} %",
            ),
            ("margin of the\nprogramming error", margin_text(row["margin"])),
            ("largest loss", loss_text(found.metric, row["worst_loss"])),
            ("note", str(row["note"])),
        ]
        for row in found.devices.sort_values("margin", ascending=False, kind="stable").to_dict("records")
    ]
    note = (
        "Each device with all errors that its card states, in its own window and the same arrays. meets, fails: a "
        "one-sided 95 % bound of the yield shows it. margin: the largest factor on the programming error at which "
        "the device meets the requirement on the chips of the search, all its other errors as they are; none: they "
        "alone are too large. A card states what its source measured: a device without drift in the list may have some."
    )
    return Section("Devices that meet the requirement", [Table("Devices", rows), Prose(note)])


def _time_text(row: dict[str, object]) -> str:
    time_s = float(str(row["time_s"]))
    after = f"after {time_text(time_s)}" if time_s else ""
    return f"{after}, with drift compensation" if row["compensated"] else after


def _draw_states(table: pd.DataFrame) -> RenderedFigure:
    """Draw the budget of each bin as steps over the state, and the share of the devices."""
    edges = [*table["low"], table["high"].iloc[-1]]
    edges = [100 * edge for edge in edges]
    with figure_style():
        figure = MatplotlibFigure(figsize=(6.4, 4.4), layout="constrained")
        budget, share = figure.subplots(2, sharex=True, height_ratios=[2, 1])
        budget.stairs(100 * table["std"], edges, color=COLORS[1], linewidth=1.6, baseline=None)
        budget.set_yscale("log")
        budget.set_ylabel("largest std\n[% of the window's top]")
        share.stairs(table["devices_percent"], edges, color=COLORS[0], fill=True, alpha=0.6)
        share.set_ylabel("devices [%]")
        share.set_xlabel("target state [% of the window's top]")
        return render_figure(figure, "states")
