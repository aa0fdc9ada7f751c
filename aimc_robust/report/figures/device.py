"""Figure of the programming error of a device over its states, for reports."""

import torch
from matplotlib.figure import Figure

from aimc_robust.devices.cell_model_checks import programming_std
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.report.figures.device_card import unit_label
from aimc_robust.report.plot_style import RenderedFigure, figure_style, render_figure

POINTS = 200


def programming_error_curve(crossbar: Crossbar) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the programming error over the states in which a cell's model is valid.

    Args:
        crossbar: The crossbar.

    Returns:
        (states, standard deviations), both of shape (POINTS,) in the cell's unit. The states span the cell's limits,
        and the programming window where it exceeds them.
    """
    low, high = crossbar.device.cell.limits
    state = torch.linspace(low, max(high, crossbar.device.programming_window[1]), POINTS, dtype=torch.float64)
    return state, programming_std(crossbar.device.cell, state)


def device_figure(name: str, crossbar: Crossbar) -> RenderedFigure:
    """Draw the programming error of a crossbar's cells, with the programming window shaded.

    Args:
        name: Name of the target.
        crossbar: The crossbar.

    Returns:
        The figure.
    """
    cell = crossbar.device.cell
    with figure_style():
        figure = Figure(figsize=(4.2, 2.6), layout="constrained")
        axes = figure.subplots()
        axes.axvspan(*crossbar.device.programming_window, color="#dcebf7", label="programming window")
        state, std = programming_error_curve(crossbar)
        axes.plot(state.numpy(), std.numpy(), color="#0072b2", linewidth=1.8)
        axes.set_xlabel(f"target {cell.state_kind} [{unit_label(cell)}]")
        axes.set_ylabel(f"programming error sigma [{unit_label(cell)}]")
        axes.set_ylim(bottom=0)
        axes.legend(fontsize=9)
        return render_figure(figure, f"device-{name}")
