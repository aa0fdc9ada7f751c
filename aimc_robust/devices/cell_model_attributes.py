"""Check the attributes of a cell model in Python, before anything depends on them."""

from __future__ import annotations

import math
import re
from typing import get_args

from aimc_robust.devices.cell_model import LONGEST_S, NAME, UNITS, CellModel
from aimc_robust.devices.cells import Clip, Distribution
from aimc_robust.errors import InputError, require_finite, require_known, short_repr


def check_cell_model(cell: CellModel) -> CellModel:
    """Return `cell` after a check of its attributes.

    Raises:
        InputError: If an attribute is missing or invalid.
        UnknownNameError: If a distribution or clip is unknown.
    """
    kind = type(cell).__qualname__
    name = getattr(cell, "name", None)
    if not isinstance(name, str) or not re.fullmatch(NAME, name):
        raise InputError(f"cell model {kind}: name must be lower-case letters, digits and hyphens, got {name!r}.")
    if getattr(cell, "unit", None) not in UNITS.values():
        known = ", ".join(map(repr, UNITS.values()))
        raise InputError(f"cell model {name}: unit must be one of {known}, got {getattr(cell, 'unit', None)!r}.")
    low, high = _pair(cell, "window")
    least, most = _pair(cell, "limits")
    if not 0 <= least <= low < high <= most < float("inf"):
        raise InputError(
            f"cell model {name}: expected 0 <= limits[0] <= window[0] < window[1] <= limits[1], got a window of "
            f"{low:g} to {high:g} and limits of {least:g} to {most:g}."
        )
    stuck = _pair(cell, "stuck_fractions")
    if min(stuck) < 0 or sum(stuck) > 1:
        raise InputError(f"cell model {name}: stuck_fractions must be at least 0 and add up to at most 1, got {stuck}.")
    _check_optional(cell)
    return cell


def _check_optional(cell: CellModel) -> None:
    """Check the attributes that have defaults."""
    name = cell.name
    choices = {"programming_distribution": Distribution, "programming_clip": Clip, "drift_clip": Clip}
    for attribute, known in choices.items():
        require_known(f"{attribute} of the cell model {name}", getattr(cell, attribute), get_args(known))
    flags = ("has_programming_error", "has_drift", "drift_is_random", "has_read_noise", "read_noise_depends_on_time")
    for attribute in flags:
        if not isinstance(getattr(cell, attribute), bool):
            raise InputError(
                f"cell model {name}: {attribute} must be True or False, got {short_repr(getattr(cell, attribute))}."
            )
    for flag, method in (("has_drift", "age"), ("has_read_noise", "read_std")):
        if getattr(cell, flag) and getattr(type(cell), method) is getattr(CellModel, method):
            raise InputError(f"cell model {name}: {flag} is True, but {method} is not overridden; write it.")
    require_finite(f"drift_starts_s of the cell model {name}", cell.drift_starts_s, high=LONGEST_S)
    for attribute, highest in (("drift_limits_s", LONGEST_S), ("drift_state_limits", math.inf)):
        if getattr(cell, attribute) is not None:
            first, last = _pair(cell, attribute)
            if not 0 <= first <= last <= highest:
                raise InputError(
                    f"cell model {name}: {attribute} must be (first, last) with 0 <= first <= last, got "
                    f"({first:g}, {last:g})."
                )
    if cell.has_drift and cell.drift_limits_s is None:
        raise InputError(f"cell model {name}: has_drift is True, so drift_limits_s must be two times, got None.")


def _pair(cell: CellModel, attribute: str) -> tuple[float, float]:
    """Two finite numbers."""
    value = getattr(cell, attribute, None)
    try:
        low, high = value  # type: ignore[misc]  # a value of any type is refused below
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError
    except (TypeError, ValueError):
        raise InputError(f"cell model {cell.name}: {attribute} must be two finite numbers, got {value!r}.") from None
    return float(low), float(high)
