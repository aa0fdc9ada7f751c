"""Check the attributes of a cell model in Python, and what its methods return each time they are called."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, get_args

from aimc_robust.devices.cell_model import LONGEST_S, NAME, UNITS, CellModel
from aimc_robust.devices.cells import CellStates, Clip, Distribution, Draw, ProgrammedCells
from aimc_robust.errors import InputError, require_finite, require_known, short_repr
from aimc_robust.io.user_code import call as call_user_code

if TYPE_CHECKING:
    from torch import Tensor


def programming_std(cell: CellModel, target: Tensor) -> Tensor:
    """Call `cell.programming_std`; raise `InputError` if a cell model in Python returns an invalid tensor."""
    if not cell.checks_results:
        return cell.programming_std(target)
    return _checked(cell, "programming_std", lambda: cell.programming_std(target), (target,), low=0.0)


def programming_error(cell: CellModel, target: Tensor, draw: Draw) -> Tensor:
    """Call `cell.programming_error`; raise `InputError` if a cell model in Python returns an invalid tensor."""
    if not cell.checks_results or type(cell).programming_error is CellModel.programming_error:
        return cell.programming_error(target, draw)
    only = _only(cell, "programming_error", "programming-uniform", draw)
    return _checked(cell, "programming_error", lambda: cell.programming_error(target, only), (target,))


def age(cell: CellModel, cells: ProgrammedCells, draw: Draw, time_s: float) -> Tensor:
    """Call `cell.age`; raise `InputError` if a cell model in Python returns an invalid tensor, or draws wrongly."""
    if not cell.checks_results:
        return cell.age(cells, draw, time_s)
    only = _only(cell, "age", "drift", draw)
    arguments = (cells.target, cells.programmed, cells.error)
    return _checked(cell, "age", lambda: cell.age(cells, only, time_s), arguments)


def read_std(cell: CellModel, states: CellStates, *, time_s: float = 0.0) -> Tensor:
    """Call `cell.read_std`; raise `InputError` if a cell model in Python returns an invalid tensor."""
    if not cell.checks_results:
        return cell.read_std(states, time_s)
    return _checked(cell, "read_std", lambda: cell.read_std(states, time_s), states, low=0.0)


def _only(cell: CellModel, method: str, allowed: str, draw: Draw) -> Draw:
    """`draw` for one effect; any other raises `InputError`."""

    def draw_allowed(effect: str, like: Tensor) -> Tensor:
        if effect != allowed:
            raise InputError(
                f"cell model {cell.name}: {method} may draw for the effect {allowed!r} only, got {effect!r}."
            )
        return draw(effect, like)

    return draw_allowed


def _checked(
    cell: CellModel, method: str, call: Callable[[], Tensor], arguments: tuple[Tensor, ...], *, low: float | None = None
) -> Tensor:
    """A copy of what `call` returns, in the arguments' dtype, so that it may be overwritten."""
    import torch  # slow to import, and not needed to list the cards

    name, like, versions = f"cell model {cell.name}: {method}", arguments[0], _versions(arguments)
    result: object = call_user_code(call, what=name)
    if not isinstance(result, torch.Tensor) or result.shape != like.shape:
        shape = tuple(result.shape) if isinstance(result, torch.Tensor) else type(result).__name__
        raise InputError(f"{name} must return a tensor of its argument's shape {tuple(like.shape)}, got {shape}.")
    if _versions(arguments) != versions:
        raise InputError(f"{name} modified its argument in place; it must return a new tensor.")
    if not torch.isfinite(result).all():
        raise InputError(f"{name} returned NaN or infinity; every value must be finite.")
    if low is not None and (result < low).any():
        raise InputError(f"{name} returned {float(result.min()):g}; a standard deviation must be at least {low:g}.")
    return result.detach().to(like, copy=True)


def _versions(tensors: tuple[Tensor, ...]) -> list[int]:
    """A counter of each tensor that in-place operations increase."""
    return [-1 if tensor.is_inference() else tensor._version for tensor in tensors]


def check_cell_model(cell: CellModel) -> CellModel:
    """Return `cell`; raise `InputError` or `UnknownNameError` if an attribute is missing or invalid."""
    name, unit = getattr(cell, "name", None), getattr(cell, "unit", None)
    if not isinstance(name, str) or not re.fullmatch(NAME, name):
        kind = type(cell).__qualname__
        raise InputError(f"cell model {kind}: name must be lower-case letters, digits and hyphens, got {name!r}.")
    _require(cell, unit in UNITS.values(), f"unit must be one of {', '.join(map(repr, UNITS.values()))}, got {unit!r}")
    (low, high), (least, most), stuck = (_pair(cell, key) for key in ("window", "limits", "stuck_fractions"))
    _require(
        cell,
        0 <= least <= low < high <= most,
        "expected 0 <= limits[0] <= window[0] < window[1] <= limits[1], got a window of "
        f"{low:g} to {high:g} and limits of {least:g} to {most:g}",
    )
    _require(
        cell,
        min(stuck) >= 0 and sum(stuck) <= 1,
        f"stuck_fractions must be at least 0 and add up to at most 1, got {stuck}",
    )
    _check_optional(cell)
    return cell


def _check_optional(cell: CellModel) -> None:
    """Check the attributes that have defaults."""
    choices = {"programming_distribution": Distribution, "programming_clip": Clip, "drift_clip": Clip}
    for attribute, known in choices.items():
        require_known(f"{attribute} of the cell model {cell.name}", getattr(cell, attribute), get_args(known))
    flags = ("has_programming_error", "has_drift", "drift_is_random", "has_read_noise", "read_noise_depends_on_time")
    for attribute in flags:
        value = getattr(cell, attribute)
        _require(cell, isinstance(value, bool), f"{attribute} must be True or False, got {short_repr(value)}")
    for flag, method in (("has_drift", "age"), ("has_read_noise", "read_std")):
        inherited = getattr(type(cell), method) is getattr(CellModel, method)
        text = f"{flag} is True, but {method} is not overridden; write it"
        _require(cell, not (getattr(cell, flag) and inherited), text)
    overridden = type(cell).programming_error is not CellModel.programming_error
    _require(
        cell,
        overridden == (cell.programming_distribution == "empirical"),
        "programming_distribution is 'empirical' if, and only if, programming_error is overridden, got "
        f"{cell.programming_distribution!r}",
    )
    knots = cell.programming_knots
    rises = len(knots) > 1 and (knots[0], knots[-1]) == (0.0, 1.0) and all(a < b for a, b in pairwise(knots))
    _require(cell, rises, f"programming_knots must rise from 0 to 1, got {knots!r}")
    require_finite(f"programming_device_share of the cell model {cell.name}", cell.programming_device_share, high=1.0)
    require_finite(f"drift_starts_s of the cell model {cell.name}", cell.drift_starts_s, high=LONGEST_S)
    for attribute, highest in (("drift_limits_s", LONGEST_S), ("drift_state_limits", math.inf)):
        if getattr(cell, attribute) is not None:
            first, last = _pair(cell, attribute)
            text = f"{attribute} must be (first, last) with 0 <= first <= last, got ({first:g}, {last:g})"
            _require(cell, 0 <= first <= last <= highest, text)
    has_limits = not cell.has_drift or cell.drift_limits_s is not None
    _require(cell, has_limits, "has_drift is True, so drift_limits_s must be two times, got None")


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


def _require(cell: CellModel, condition: bool, text: str) -> None:
    if not condition:
        raise InputError(f"cell model {cell.name}: {text}.")
