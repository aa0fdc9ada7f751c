"""Curves of a device: programming error and read noise over the state, drift over time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes

from aimc_robust.devices.card import Card
from aimc_robust.devices.cell_model import CellModel
from aimc_robust.devices.cell_model_checks import programming_std
from aimc_robust.devices.curves import StdCurve, drift_curves, programming_curve, read_curve, read_times_s
from aimc_robust.devices.curves import smooth_times_s as curve_times_s
from aimc_robust.devices.library import load_cell_model
from aimc_robust.devices.limits import time_text
from aimc_robust.errors import InputError
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.plot.axes import drawing_axes, format_time_axis, round_times
from aimc_robust.plot.labels import state_unit
from aimc_robust.plot.style import COLORS, CurveStyle

POINTS = 200
SIZE = (4.6, 3.4)  # inches

DeviceLike = str | Path | dict[str, Any] | Card | CellModel | Crossbar
"""A card as `load_card` takes it, a cell model, or a crossbar of such cells."""


def programming_error(device: DeviceLike, ax: Axes | None = None) -> Axes:
    """Draw the standard deviation of a device's programming error over the target state.

    Args:
        device: Name or path of a card, a card, a cell model, or a crossbar; of a crossbar the states span the card's
            limits, and its programming window is shaded.
        ax: Axes to draw on; None: those of a new figure.

    Returns:
        The axes.

    Raises:
        InputError: if there is no such card, or an argument is invalid.

    Example:
        >>> ar.plot.programming_error("sonos-agrawal2022")  # doctest: +SKIP
    """
    cell = _cell(device)
    with drawing_axes(ax, SIZE) as axes:
        if isinstance(device, Crossbar):
            axes.axvspan(*device.device.programming_window, color="#dcebf7", label="programming window")
            state, std = crossbar_error_curve(device)
            axes.legend(fontsize=9)
        else:
            state, std = programming_curve(cell, POINTS)
        axes.plot(state.numpy(), std.numpy(), color=COLORS[1], linewidth=1.8)
        _label_std(axes, cell, "programming error")
    return axes


def read_noise(device: DeviceLike, ax: Axes | None = None) -> Axes:
    """Draw the standard deviation of one read over the target state, at several times if it depends on time.

    Args:
        device: As for `programming_error`.
        ax: Axes to draw on; None: those of a new figure.

    Returns:
        The axes.

    Raises:
        InputError: if the device has no read noise, or an argument is invalid.

    Example:
        >>> ar.plot.read_noise("pcm-nandakumar2019")  # doctest: +SKIP
    """
    cell = _cell(device)
    if not cell.has_read_noise:
        raise InputError(f"{cell.name} has no read noise; draw its programming_error.")
    times = read_times_s(cell)
    with drawing_axes(ax, SIZE) as axes:
        for number, time_s in enumerate(times):
            label = f"{time_text(time_s)} after programming" if len(times) > 1 else "at any time"
            curve = read_curve(cell, POINTS, time_s=time_s)
            style = CurveStyle(number + 1).line | {"linewidth": 1.8}
            axes.plot(curve.state.numpy(), curve.std.numpy(), label=label, **style)
        _label_std(axes, cell, "read noise, redrawn at every multiply")
        axes.legend()
    return axes


def drift(device: DeviceLike, ax: Axes | None = None) -> Axes:
    """Draw how the states of a device move away from their targets: mean, and one standard deviation as a band.

    Three targets: a tenth, the middle and the top of the window.

    Args:
        device: As for `programming_error`.
        ax: Axes to draw on; None: those of a new figure.

    Returns:
        The axes.

    Raises:
        InputError: if the device has no drift, or an argument is invalid.

    Example:
        >>> ar.plot.drift("sonos-agrawal2022")  # doctest: +SKIP
    """
    cell = _cell(device)
    if not cell.has_drift:
        raise InputError(f"{cell.name} has no drift; draw its programming_error.")
    curves, unit = drift_curves(cell, curve_times_s(cell, POINTS)), state_unit(cell.unit)
    with drawing_axes(ax, SIZE) as axes:
        for i, target in enumerate(curves.targets.tolist()):
            mean, std = curves.mean[:, i].numpy() - target, curves.std[:, i].numpy()
            style = CurveStyle(i + 1)
            axes.plot(curves.times_s, mean, **style.line | {"linewidth": 1.8}, label=f"target {target:.4g} {unit}")
            axes.fill_between(curves.times_s, mean - std, mean + std, color=style.color, alpha=0.15, linewidth=0)
        axes.axhline(0.0, color=COLORS[0], linewidth=0.8)
        axes.set_title("drift: mean and one standard deviation", fontsize=10)
        axes.set_ylabel(f"{cell.state_kind} − target [{unit}]")
        format_time_axis(axes, round_times(curves.times_s[-1]))
        axes.set_xlim(curves.times_s[0], curves.times_s[-1])
        axes.legend(fontsize=9)
    return axes


def crossbar_error_curve(crossbar: Crossbar) -> StdCurve:
    """Return states and standard deviations of the programming error, both (POINTS,) in the cell's unit.

    The states span the cell's limits, and the programming window where it exceeds them.
    """
    low, high = crossbar.device.cell.limits
    state = torch.linspace(low, max(high, crossbar.device.programming_window[1]), POINTS, dtype=torch.float64)
    return StdCurve(state, programming_std(crossbar.device.cell, state))


def _cell(device: DeviceLike) -> CellModel:
    if isinstance(device, Crossbar):
        return device.device.cell
    return load_cell_model(device)


def _label_std(axes: Axes, cell: CellModel, title: str) -> None:
    unit = state_unit(cell.unit)
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(f"target {cell.state_kind} [{unit}]")
    axes.set_ylabel(f"standard deviation [{unit}]")
    axes.set_ylim(bottom=0)
