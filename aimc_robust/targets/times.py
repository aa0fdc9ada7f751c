"""Times since programming as text: 0,1h,1d,5d."""

from __future__ import annotations

import re

from aimc_robust.devices.limits import DAY_S, YEAR_S, require_time
from aimc_robust.errors import InputError, exact_text, short_repr

UNITS_S = {"": 1.0, "s": 1.0, "min": 60.0, "h": 3600.0, "d": DAY_S, "y": YEAR_S}
LABELS = ("d", "h", "min")  # units of times in names, the largest first


def parse_times(text: str) -> list[float]:
    """Parse times such as 0,1h,1d,5d to seconds since programming, ascending, without duplicates.

    Raises:
        InputError: if the text is invalid.
    """
    times_s = []
    for part in text.split(","):
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?(?:e[0-9]+)?)\s*(s|min|h|d|y)?", part.strip())
        if match is None:
            raise InputError(
                f"times are numbers with s, min, h, d or y, such as 0,1h,1d,5d; got {short_repr(part.strip())}."
            )
        times_s.append(float(match[1]) * UNITS_S[match[2] or ""])
        require_time(times_s[-1])
    return sorted(set(times_s))


def time_label(time_s: float) -> str:
    """Return a time for a name: 86400 -> 1d, 5400 -> 90min, 20 -> 20s."""
    unit = next((unit for unit in LABELS if time_s >= UNITS_S[unit] and time_s % UNITS_S[unit] == 0), "s")
    return f"{exact_text(time_s / UNITS_S[unit])}{unit}".replace("+", "")  # 1e+09 is no name
