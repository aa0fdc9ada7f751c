"""The programming error of a device over its states."""

import matplotlib as mpl
import torch
from matplotlib.figure import Figure

from aimc_robust.devices.std import programming_std
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.report.plot_style import STYLE, Drawing, drawing, svg


def device_points(crossbar: Crossbar) -> tuple[torch.Tensor, torch.Tensor]:
    """200 states over the card's limits (and the window, where it leaves them) and their sigma [card.unit]."""
    low, high = crossbar.card.range.limits
    state = torch.linspace(low, max(high, crossbar.programming_window[1]), 200, dtype=torch.float64)
    return state, programming_std(crossbar.card, state)


def device_curve(name: str, crossbar: Crossbar) -> str:
    """`device_drawing` as an SVG element alone."""
    with mpl.rc_context(STYLE):
        return svg(_device_figure(crossbar), f"device-{name}")


def device_drawing(name: str, crossbar: Crossbar) -> Drawing:
    """sigma(state) over the card's limits, with the programming window shaded; `name` is the target's."""
    with mpl.rc_context(STYLE):
        return drawing(_device_figure(crossbar), f"device-{name}")


def _device_figure(crossbar: Crossbar) -> Figure:
    card = crossbar.card
    figure = Figure(figsize=(4.2, 2.6), layout="constrained")
    axes = figure.subplots()
    axes.axvspan(*crossbar.programming_window, color="#dcebf7", label="programming window")
    axes.plot(*device_points(crossbar), color="#0072b2", linewidth=1.8)
    unit = {"uS": "µS", "1": "share of full scale"}.get(card.unit, card.unit)
    axes.set_xlabel(f"target {card.state} [{unit}]")
    axes.set_ylabel(f"programming error sigma [{unit}]")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=9)
    return figure
