"""Check that a time or a window lies within the limits for which a device is valid."""

import math
from typing import Literal

from aimc_robust.devices.cell_model import LONGEST_S, CellModel
from aimc_robust.errors import InputError, require_finite, warn

DAY_S, YEAR_S = 86400.0, 31536000.0
TOLERANCE = 1e-3  # relative, of limits in time: a drift that was measured from 1 s to 1 d is valid up to 86399 s

OutOfRange = Literal["warn", "error"]
"""What happens outside a device's limits."""


def require_time(time_s: float) -> None:
    """Raise `InputError` unless a time since programming is a finite number of seconds from 0 to `LONGEST_S`."""
    require_finite("time_s (seconds since programming)", time_s, low=0.0, high=LONGEST_S)


def check_time(cell: CellModel, time_s: float, *, on_out_of_range: OutOfRange = "warn") -> None:
    """Warn, or raise `InputError`, if a time since programming is more than 0.1 % outside the limits of the drift.

    A time that is not a finite number from 0 to 3.2e9 s always raises.
    """
    require_time(time_s)
    if time_s == 0:
        return
    message = f"{cell.name}: the device has no drift, so time_s = {_seconds(time_s)} has no effect; use time_s = 0."
    if cell.drift_limits_s is not None:
        low, high = cell.drift_limits_s
        if low * (1.0 - TOLERANCE) <= time_s <= high * (1.0 + TOLERANCE):
            return
        message = (
            f"{cell.name}: time_s = {_seconds(time_s)} is outside the limits {low:g} to {_seconds(high)} of the "
            "device's drift."
        )
    _warn_or_raise(message, on_out_of_range)


def check_states(
    cell: CellModel,
    window: tuple[float, float],
    *,
    time_s: float = 0.0,
    on_out_of_range: OutOfRange = "warn",
) -> None:
    """Warn, or raise `InputError`, if a programming window (min, max) [cell.unit] lies outside the device's limits.

    At a time above 0 the limits of the drift count too.
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
            )


def time_text(time_s: float) -> str:
    """Format a time in the unit that keeps it short: 45 s, 10 min, 1 h, 5 d, 1 y."""
    for unit_s, unit in ((YEAR_S, "y"), (DAY_S, "d"), (3600.0, "h"), (60.0, "min")):
        if time_s >= unit_s and math.isclose(time_s / unit_s, round(time_s / unit_s, 1)):
            return f"{time_s / unit_s:g} {unit}"
    return f"{time_s:g} s"


def _seconds(time_s: float) -> str:
    """Format a time in seconds, and in a longer unit where that is shorter: 86400 s (1 d)."""
    seconds, text = f"{time_s:g} s", time_text(time_s)
    return seconds if text == seconds else f"{seconds} ({text})"


def _warn_or_raise(message: str, on_out_of_range: OutOfRange) -> None:
    if on_out_of_range == "error":
        raise InputError(message)
    warn(message)
