"""Whether a time or a window lies within what a card's source covers."""

import math
import warnings
from typing import Literal

from aimc_robust.devices.card import Card
from aimc_robust.errors import InputError, require_finite

# About 100 years: no memory is asked for more, and a larger number is most likely in another unit.
LONGEST_S = 3.2e9
DAY_S, YEAR_S = 86400.0, 31536000.0

Beyond = Literal["warn", "error"]


def require_time(time_s: float) -> None:
    """Raise InputError for what is not a finite number of seconds from 0 to LONGEST_S."""
    require_finite("time_s (seconds since programming)", time_s, low=0.0, high=LONGEST_S)


def check_time(card: Card, time_s: float, *, beyond: Beyond = "warn", stacklevel: int = 2) -> None:
    """Refuse a time that cannot be; tell of one that the card's source does not cover.

    time_s: since programming [s]. beyond: whether a time outside the card's limits warns or is refused.
    stacklevel: of the warning, as in `warnings.warn`: 2 is the caller's line.
    Raises InputError for what is not a finite number from 0 to 3.2e9 s.
    """
    require_time(time_s)
    if time_s == 0:
        return
    if card.drift is None:
        message = f"{card.name}: the card has no drift, so time_s = {time_s:g} s changes nothing; leave it at 0."
        _tell(message, beyond, stacklevel)
        return
    low, high = card.drift.limits_s
    if not low <= time_s <= high:
        _tell(
            f"{card.name}: time_s = {time_s:g} s leaves the limits {low:g} to {high:g} s within which the card's drift "
            "holds.",
            beyond,
            stacklevel,
        )


def check_states(
    card: Card, window: tuple[float, float], *, time_s: float = 0.0, beyond: Beyond = "warn", stacklevel: int = 2
) -> None:
    """Tell of a window that the card's source does not cover.

    window: (min, max) target state [card.unit]. time_s: since programming [s]; above 0 the states of the drift count
    too. beyond, stacklevel: as for `check_time`.
    """
    low, high = window
    least, most = card.range.limits
    window_text = f"{card.name}: the window {low:g} to {high:g} {card.unit} leaves the limits"
    if low < least or high > most:
        message = f"{window_text} {least:g} to {most:g} {card.unit} within which the card's fit holds."
        _tell(message, beyond, stacklevel)
    if time_s > 0 and card.drift is not None and card.drift.state_limits is not None:
        least, most = card.drift.state_limits
        if low < least or high > most:
            message = f"{window_text} {least:g} to {most:g} {card.unit} within which the card's drift holds."
            _tell(message, beyond, stacklevel)


def time_text(time_s: float) -> str:
    """A time in the unit that keeps it short: 45 s, 10 min, 1 h, 5 d, 1 y."""
    for unit_s, unit in ((YEAR_S, "y"), (DAY_S, "d"), (3600.0, "h"), (60.0, "min")):
        if time_s >= unit_s and math.isclose(time_s / unit_s, round(time_s / unit_s, 1)):
            return f"{time_s / unit_s:g} {unit}"
    return f"{time_s:g} s"


def _tell(message: str, beyond: Beyond, stacklevel: int) -> None:
    if beyond == "error":
        raise InputError(message)
    warnings.warn(message, stacklevel=stacklevel + 1)
