"""Call the methods of a cell model, and check what a cell model in Python returns."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from aimc_robust.devices.cell_model import CellModel
from aimc_robust.devices.cells import CellStates, Draw, ProgrammedCells
from aimc_robust.errors import InputError
from aimc_robust.io.user_code import call as call_user_code


def programming_std(cell: CellModel, target: Tensor) -> Tensor:
    """Compute the standard deviation of the programmed state around its target.

    Args:
        cell: The device.
        target: Target states, any shape [cell.unit].

    Returns:
        A new tensor of the same shape [cell.unit], at least 0.

    Raises:
        InputError: If a cell model in Python returns something else.
    """
    if not cell.checks_results:
        return cell.programming_std(target)
    return _checked(cell, "programming_std", lambda: cell.programming_std(target), (target,), low=0.0)


def age(cell: CellModel, cells: ProgrammedCells, draw: Draw, time_s: float) -> Tensor:
    """Compute the states of programmed cells at a later time, before they are clipped.

    Args:
        cell: The device.
        cells: Targets, programmed states and programming errors.
        draw: Source of random numbers.
        time_s: Seconds since programming.

    Returns:
        A new tensor of the targets' shape [cell.unit].

    Raises:
        InputError: If a cell model in Python returns something else, or draws for an effect other than "drift".
    """
    if not cell.checks_results:
        return cell.age(cells, draw, time_s)

    def drift_only(effect: str, like: Tensor) -> Tensor:
        if effect != "drift":
            raise InputError(f"cell model {cell.name}: age may draw for the effect 'drift' only, got {effect!r}.")
        return draw(effect, like)

    arguments = (cells.target, cells.programmed, cells.error)
    return _checked(cell, "age", lambda: cell.age(cells, drift_only, time_s), arguments)


def read_std(cell: CellModel, states: CellStates, *, time_s: float = 0.0) -> Tensor:
    """Compute the standard deviation of the state that one multiply reads, around the present state.

    The noise is Gaussian, redrawn at each multiply, and independent from read to read.

    Args:
        cell: The device.
        states: From `cell_states`, any shape [cell.unit].
        time_s: Seconds since programming of these states.

    Returns:
        A new tensor of the same shape [cell.unit], at least 0; zeros for a device without read noise.

    Raises:
        InputError: If a cell model in Python returns something else.
    """
    if not cell.checks_results:
        return cell.read_std(states, time_s)
    return _checked(cell, "read_std", lambda: cell.read_std(states, time_s), states, low=0.0)


def _checked(
    cell: CellModel, method: str, call: Callable[[], Tensor], arguments: tuple[Tensor, ...], *, low: float | None = None
) -> Tensor:
    """A copy of what `call` returns, in the arguments' dtype, so that it may be overwritten."""
    name, like, versions = f"cell model {cell.name}: {method}", arguments[0], _versions(arguments)
    result: object = call_user_code(call, what=name)
    if not isinstance(result, Tensor) or result.shape != like.shape:
        shape = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
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
