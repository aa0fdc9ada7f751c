"""A card's curves as a picture in a file."""

import io
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from aimc_robust.devices.card import Card
from aimc_robust.devices.curves import ageing, programming_curve, read_curve, read_times_s, smooth_times_s
from aimc_robust.devices.limits import DAY_S, YEAR_S, time_text
from aimc_robust.devices.std import has_read_noise
from aimc_robust.io.atomic import atomic_write
from aimc_robust.report.plot_style import STYLE

# Three of Okabe and Ito's colours, told apart with any colour vision, each with a dash of its own for print in grey.
COLORS, LINES = ("#0072b2", "#d55e00", "#009e73"), ("-", "--", "-.")
POINTS = 200


def save(card: Card, path: Path) -> None:
    """Write the card's picture whole; the suffix of `path` is the format."""
    buffer = io.BytesIO()
    with mpl.rc_context(STYLE | {"legend.fontsize": 9}):
        draw(card).savefig(buffer, format=path.suffix.lower()[1:])
    atomic_write(path, buffer.getvalue())


def draw(card: Card) -> Figure:
    """The card's panels: programming error, read noise and drift where it has them."""
    panels = [_programming]
    if has_read_noise(card):
        panels.append(_read)
    if card.drift is not None:
        panels.append(_drift)
    with mpl.rc_context(STYLE | {"legend.fontsize": 9}):
        figure = Figure(figsize=(4.6 * len(panels), 4.4), layout="constrained", dpi=150)
        figure.suptitle(card.name)
        for part, panel in zip(figure.subfigures(1, len(panels), squeeze=False)[0], panels, strict=True):
            panel(part, card)
    return figure


def _programming(part: SubFigure, card: Card) -> None:
    axes = _std_axes(part, card, "programming error")
    axes.plot(*programming_curve(card, POINTS), color=COLORS[0], linewidth=1.8)
    axes.set_ylim(bottom=0)


def _read(part: SubFigure, card: Card) -> None:
    axes = _std_axes(part, card, "read noise, redrawn at every multiply")
    times = read_times_s(card)
    for time_s, colour, line in zip(times, COLORS, LINES, strict=False):
        label = f"{time_text(time_s)} after programming" if len(times) > 1 else "at any time"
        axes.plot(*read_curve(card, POINTS, time_s=time_s), color=colour, linestyle=line, linewidth=1.8, label=label)
    axes.set_ylim(bottom=0)
    axes.legend()


def _std_axes(part: SubFigure, card: Card, title: str) -> Axes:
    axes = part.subplots()
    axes.set_title(title)
    axes.set_xlabel(f"target {card.state} [{unit_label(card)}]")
    axes.set_ylabel(f"standard deviation [{unit_label(card)}]")
    return axes


def _drift(part: SubFigure, card: Card) -> None:
    """One small axis per target, since drift is small beside the distance between targets."""
    aged = ageing(card, smooth_times_s(card, POINTS))
    count = len(aged.targets)
    all_axes = part.subplots(count, 1, sharex=True)
    for axes, i in zip(all_axes, reversed(range(count)), strict=True):
        mean, std = aged.mean[:, i], aged.std[:, i]
        axes.plot(aged.times_s, mean, color=COLORS[0], linewidth=1.8, label="mean")
        axes.fill_between(aged.times_s, mean - std, mean + std, color=COLORS[0], alpha=0.22, linewidth=0, label="± sd")
        axes.axhline(float(aged.targets[i]), color="#4d4d4d", linestyle=":", linewidth=1.2, label="target")
    all_axes[0].set_title("drift: mean and one standard deviation")
    all_axes[-1].set_xlabel("time since programming")
    part.supylabel(f"{card.state} [{unit_label(card)}]", fontsize=10)
    _time_axis(all_axes[-1], aged.times_s[-1])
    part.legend(*all_axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)


def _time_axis(axes: Axes, last_s: float) -> None:
    axes.set_xscale("log")
    marks = [t for t in (1.0, 60.0, 3600.0, DAY_S, 30 * DAY_S, YEAR_S, 10 * YEAR_S) if t <= last_s]
    if marks:
        axes.xaxis.set_major_locator(FixedLocator(marks))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: time_text(value)))
        axes.xaxis.set_minor_locator(NullLocator())


def unit_label(card: Card) -> str:
    """The card's unit as an axis shows it."""
    return {"uS": "µS", "1": "share of full scale"}.get(card.unit, card.unit)
