"""The states of programmed cells: after programming, and at a later time. The same draws give the same devices."""

from __future__ import annotations

from typing import TypedDict

from torch import Tensor

from aimc_robust.devices.cell_model import CellModel
from aimc_robust.devices.cell_model_checks import age, programming_error, programming_std
from aimc_robust.devices.cells import CellStates, Draw, ProgrammedCells, clip_, spread_
from aimc_robust.errors import InputError, require_finite


class StateOptions(TypedDict, total=False):
    """Keyword arguments of `cell_states`, for functions that pass them on."""

    time_s: float
    window: tuple[float, float] | None
    error_scale: float
    stuck: tuple[float, float] | None
    programming: bool
    drift: bool


def cell_states(
    cell: CellModel,
    target: Tensor,
    draw: Draw,
    *,
    time_s: float = 0.0,
    window: tuple[float, float] | None = None,
    error_scale: float = 1.0,
    stuck: tuple[float, float] | None = None,
    programming: bool = True,
    drift: bool = True,
    now_only: bool = False,
) -> CellStates:
    """Compute the states of cells after programming and `time_s` later.

    programmed = clip(target + error_scale * sigma(target) * xi); the present state follows from the device's drift.
    The same draws at another time give the same cells at that time.

    Args:
        cell: The device.
        target: Target states, any shape [cell.unit]; not modified.
        draw: Source of random numbers, called at most once per effect.
        time_s: Seconds since programming.
        window: (min, max) [cell.unit] for clipping and for stuck cells; None: the device's own.
        error_scale: Factor on the standard deviation of the programming error and of a drift table, not on its shift.
        stuck: Fractions of cells stuck at the window's min and max; None: the device's own.
        programming: Whether the programming error acts. A drift table states the whole width at each time; without
            programming error its shift remains, and what the width has grown by.
        drift: Whether the drift acts.
        now_only: Compute only the present states; the states after programming are then the same tensor.

    Returns:
        Both states. Without drift, or at time 0, they are one tensor.

    Raises:
        InputError: If a time, scale or fraction is invalid, or a cell model in Python returns invalid values.
    """
    require_finite("time_s (seconds since programming)", time_s)
    require_finite("error_scale", error_scale)
    bounds = cell.window if window is None else window
    error = programming_error(cell, target, draw)
    ages = drift and cell.has_drift and time_s > 0 and time_s > cell.drift_starts_s
    if now_only and ages and programming and not cell.drift_uses_programmed:
        programmed, removed_std = target, None
    else:
        std = programming_std(cell, target)
        removed_std = None if programming else std.clone()
        programmed = spread_(std if programming else std.zero_(), target, error, error_scale)
        clip_(programmed, cell.programming_clip, bounds)
    now = programmed
    if ages:
        scaled_error = error if error_scale == 1.0 else error * error_scale
        cells = ProgrammedCells(target, programmed, scaled_error, removed_std)
        now = clip_(age(cell, cells, draw, time_s), cell.drift_clip, cell.limits)
    if now_only:
        programmed = now
    _set_stuck(
        (programmed,) if now is programmed else (programmed, now),
        draw,
        bounds,
        cell.stuck_fractions if stuck is None else stuck,
    )
    return CellStates(programmed, now)


def _set_stuck(
    states: tuple[Tensor, ...], draw: Draw, bounds: tuple[float, float], fractions: tuple[float, float]
) -> None:
    """Set stuck cells to the ends of the window, in place; they carry neither error nor drift."""
    low, high = fractions
    require_finite("the fraction of cells stuck low", low, high=1.0)
    require_finite("the fraction of cells stuck high", high, high=1.0)
    if low + high > 1:
        raise InputError(f"the fractions of stuck cells must add up to at most 1, got {low:g} and {high:g}.")
    if low + high == 0:
        return
    u = draw("stuck", states[0])
    for state in states:
        if high > 0:
            state.masked_fill_(u >= 1.0 - high, bounds[1])
        if low > 0:
            state.masked_fill_(u < low, bounds[0])
