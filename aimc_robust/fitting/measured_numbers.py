"""Check one number of a table of measurements."""

import math
from typing import Any

from aimc_robust.devices.cell_model import LONGEST_S
from aimc_robust.errors import DataError

LARGEST_STATE = 1e12  # a larger state is a mistake, and its square may overflow


def measured_number(value: Any, name: str, where: str) -> float:
    """Convert a field to a finite number; a blank time is 0.

    Args:
        value: The field.
        name: Its column: `target`, `measured` or `time_s`.
        where: File and line, for error messages.

    Raises:
        DataError: If the field is not a number, or is out of range.
    """
    blank = value is None or (isinstance(value, str) and not value.strip())
    if name == "time_s" and (blank or (isinstance(value, float) and math.isnan(value))):
        return 0.0
    try:
        if blank or isinstance(value, bool) or "_" in str(value):
            raise ValueError
        number = float(value)
    except (TypeError, ValueError):
        shown = "a blank" if blank else repr(value)
        raise DataError(f"{where}: expected a number in the column {name}, got {shown}.") from None
    if not math.isfinite(number):
        raise DataError(f"{where}: expected a finite number in the column {name}, got {value!r}; leave such rows out.")
    if number < 0:
        if name == "time_s":
            raise DataError(f"{where}: time_s counts seconds since programming and cannot be negative, got {value!r}.")
        raise DataError(
            f"{where}: a state cannot be negative, got {name} = {value!r}; subtract the instrument's offset, and give "
            "0 for a cell without current."
        )
    largest = LONGEST_S if name == "time_s" else LARGEST_STATE
    if number > largest:
        raise DataError(f"{where}: {name} = {value!r} is above {largest:g}; check its unit.")
    return number
