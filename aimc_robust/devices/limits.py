"""Check that a time or a window lies within the limits for which a device is valid."""

import math
import warnings
from typing import Literal

from aimc_robust.devices.cell_model import LONGEST_S, CellModel
from aimc_robust.errors import InputError, require_finite

DAY_S, YEAR_S = 86400.0, 31536000.0

OutOfRange = Literal["warn", "error"]
"""What happens outside a device's limits."""


def require_time(time_s: float) -> None:
    """Check a time since programming.

    Raises:
        InputError: If `time_s` is not a finite number of seconds from 0 to `LONGEST_S`.
    """
    require_finite("time_s (seconds since programming)", time_s, low=0.0, high=LONGEST_S)


def check_time(cell: CellModel, time_s: float, *, on_out_of_range: OutOfRange = "warn", stacklevel: int = 2) -> None:
    """Check a time, and warn or raise if it lies outside the limits of the device's drift.

    Args:
        cell: The device.
        time_s: Seconds since programming.
        on_out_of_range: Whether a time outside the limits warns or raises.
        stacklevel: Of the warning, as in `warnings.warn`; 2 is the caller's line.

    Raises:
        InputError: If `time_s` is not a finite number from 0 to 3.2e9 s, or lies outside the limits and
            `on_out_of_range` is `error`.
    """
    require_time(time_s)
    if time_s == 0:
        return
    if cell.drift_limits_s is None:
        message = f"{cell.name}: the device has no drift, so time_s = {time_s:g} s has no effect; use time_s = 0."
        _warn_or_raise(message, on_out_of_range, stacklevel)
        return
    low, high = cell.drift_limits_s
    if not low <= time_s <= high:
        _warn_or_raise(
            f"{cell.name}: time_s = {time_s:g} s is outside the limits {low:g} to {high:g} s of the device's drift.",
            on_out_of_range,
            stacklevel,
        )


def check_states(
    cell: CellModel,
    window: tuple[float, float],
    *,
    time_s: float = 0.0,
    on_out_of_range: OutOfRange = "warn",
    stacklevel: int = 2,
) -> None:
    """Warn or raise if a programming window lies outside the device's limits.

    Args:
        cell: The device.
        window: (min, max) target state [cell.unit].
        time_s: Seconds since programming; above 0 the limits of the drift count too.
        on_out_of_range: Whether a window outside the limits warns or raises.
        stacklevel: Of the warning, as in `warnings.warn`; 2 is the caller's line.

    Raises:
        InputError: If the window lies outside the limits and `on_out_of_range` is `error`.
    """
    limits = {"the device": cell.limits}
    if time_s > 0 and cell.drift_state_limits is not None:
        limits["the device's drift"] = cell.drift_state_limits
    low, high = window
    for subject, (least, most) in limits.items():
        if low < least or high > most:
            _warn_or_raise(
                f"{cell.name}: the window {low:g} to {high:g} {cell.unit} is outside the limits {least:g} to {most:g} "
                f"{cell.unit} of {subject}.",
                on_out_of_range,
                stacklevel,
            )


def time_text(time_s: float) -> str:
    """Format a time in the unit that keeps it short: 45 s, 10 min, 1 h, 5 d, 1 y."""
    for unit_s, unit in ((YEAR_S, "y"), (DAY_S, "d"), (3600.0, "h"), (60.0, "min")):
        if time_s >= unit_s and math.isclose(time_s / unit_s, round(time_s / unit_s, 1)):
            return f"{time_s / unit_s:g} {unit}"
    return f"{time_s:g} s"


def _warn_or_raise(message: str, on_out_of_range: OutOfRange, stacklevel: int) -> None:
    if on_out_of_range == "error":
        raise InputError(message)
    warnings.warn(message, stacklevel=stacklevel + 1)
