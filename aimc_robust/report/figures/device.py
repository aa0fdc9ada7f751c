"""The programming error of a device over its states."""

import matplotlib as mpl
import torch
from matplotlib.figure import Figure

from aimc_robust.devices.std import programming_std
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.report.plot_style import STYLE, RenderedFigure, drawing, svg


def programming_error_curve(crossbar: Crossbar) -> tuple[torch.Tensor, torch.Tensor]:
    """200 states over the card's limits (and the window, where it leaves them) and their sigma [card.unit]."""
    low, high = crossbar.card.range.limits
    state = torch.linspace(low, max(high, crossbar.programming_window[1]), 200, dtype=torch.float64)
    return state, programming_std(crossbar.card, state)


def device_figure_svg(name: str, crossbar: Crossbar) -> str:
    """`device_figure` as an SVG element alone."""
    with mpl.rc_context(STYLE):
        return svg(_draw_device(crossbar), f"device-{name}")


def device_figure(name: str, crossbar: Crossbar) -> RenderedFigure:
    """sigma(state) over the card's limits, with the programming window shaded; `name` is the target's."""
    with mpl.rc_context(STYLE):
        return drawing(_draw_device(crossbar), f"device-{name}")


def _draw_device(crossbar: Crossbar) -> Figure:
    card = crossbar.card
    figure = Figure(figsize=(4.2, 2.6), layout="constrained")
    axes = figure.subplots()
    axes.axvspan(*crossbar.programming_window, color="#dcebf7", label="programming window")
    axes.plot(*programming_error_curve(crossbar), color="#0072b2", linewidth=1.8)
    unit = {"uS": "µS", "1": "share of full scale"}.get(card.unit, card.unit)
    axes.set_xlabel(f"target {card.state} [{unit}]")
    axes.set_ylabel(f"programming error sigma [{unit}]")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=9)
    return figure
