"""Program one weight matrix: weights -> target states -> states of one chip at one time -> weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from aimc_robust.devices.cells import CellStates, Draw, share_with_device
from aimc_robust.devices.states import cell_states
from aimc_robust.errors import InputError
from aimc_robust.hardware.config.device import Device
from aimc_robust.hardware.config.weight_layout import WeightLayout, relative_weights
from aimc_robust.random_numbers import normal, uniform
from aimc_robust.seeding import Axes

LayerDraws = Callable[[int], Draw]
"""Number of a device in the mapping -> its random numbers: draw(effect, like), like `like`."""

DEVICE_EFFECTS = ("device", "stuck")
"""Effects that belong to a device, whenever it is programmed."""

BLOCK = 2**18  # weights that are programmed at a time: few enough for the cache, enough for threads to wait rarely


class Cells(NamedTuple):
    """Programmed devices of one matrix: lazily computed states, and the weight at the end of the window."""

    states: Iterator[CellStates]
    limit: Tensor


def program_matrix(
    device: Device,
    layout: WeightLayout,
    matrix: Tensor,
    draws: LayerDraws,
    *,
    time_s: float = 0.0,
    layer: str = "",
    checked: bool = True,
) -> Cells:
    """Program a matrix (outputs, inputs) onto devices of one chip; half precision is computed in float32.

    Order of operations: clip to the weight limit, map, round to levels, errors, clip (CrossSim 3.2). `checked`: see
    `WeightLayout.weight_limit`.

    Raises:
        InputError: if weights are not finite, or the weight percentile is 0.
    """
    exact = matrix.to(torch.promote_types(matrix.dtype, torch.float32))
    limit = layout.weight_limit(exact, layer=layer, checked=checked)
    stuck = stuck_states(device, layout, exact, layer)
    fresh = stuck if stuck is None or device.fault_map is None else device.fault_map.fresh_states(layer, stuck)
    return Cells(_states(device, layout, exact, limit, draws, time_s, stuck, fresh), limit)


def programmed_weights(
    device: Device,
    layout: WeightLayout,
    matrix: Tensor,
    chips: Sequence[Axes],
    *,
    time_s: float = 0.0,
    cycle: int = 0,
    layer: str = "",
    checked: bool = True,
) -> Tensor:
    """Compute `read_back` of `program_matrix` on chips, (chips, outputs, inputs), block by block of the outputs.

    `chips` are the axes of the layer on each chip.
    """
    exact = matrix.to(torch.promote_types(matrix.dtype, torch.float32))
    limit = layout.weight_limit(exact, layer=layer, checked=checked)
    stuck = stuck_states(device, layout, exact, layer)
    weights = torch.empty((len(chips), *exact.shape), dtype=exact.dtype, device=exact.device)
    repeat = partial(_repeated, times=len(chips))
    for rows in blocks(exact, len(chips)):
        draws = layer_draws(*chips, cycle=cycle, first_row=rows.start)
        part = repeat(limit[rows]) if limit.ndim else limit
        faults = None if stuck is None else repeat(stuck[:, rows], dim=1)
        targets = repeat(exact[rows])
        states = _states(device, layout, targets, part, draws, time_s, faults, faults, now_only=True)
        cells = Cells(states, part)
        weights[:, rows] = read_back(device, layout, cells).unflatten(0, (len(chips), -1))
    return weights


def _repeated(rows: Tensor, times: int, dim: int = 0) -> Tensor:
    return torch.cat([rows] * times, dim) if times > 1 else rows.contiguous()


def blocks(matrix: Tensor, chips: int = 1) -> Iterator[slice]:
    """Slices of the outputs of a matrix, few enough for the cache; on a GPU the whole."""
    outputs, inputs = matrix.shape
    step = BLOCK // max(inputs * chips, 1) if matrix.is_cpu else outputs
    starts = range(0, max(outputs, 1), max(step, 1))
    return map(slice, starts, [*starts[1:], outputs])


def _states(
    device: Device,
    layout: WeightLayout,
    exact: Tensor,
    limit: Tensor,
    draws: LayerDraws,
    time_s: float,
    stuck: Tensor | None,
    fresh: Tensor | None,
    *,
    now_only: bool = False,
) -> Iterator[CellStates]:
    for number, target in enumerate(target_states(device, layout, exact, limit)):
        draw = share_with_device(_like_targets(draws(number), target.shape), device.cell.programming_device_share)
        states = cell_states(device.cell, target, draw, **device.state_options(time_s), now_only=now_only)
        yield states if stuck is None or fresh is None else _with_stuck(states, stuck[number], fresh[number])


def _like_targets(draw: Draw, shape: torch.Size) -> Draw:
    """Return the draw, which refuses another shape: its numbers would depend on what else is programmed."""

    def checked(effect: str, like: Tensor) -> Tensor:
        if like.shape != shape:
            raise InputError(
                f"expected a draw {effect!r} of one number for each target, of shape {tuple(shape)}, got "
                f"{tuple(like.shape)}; draw for all targets and select from the numbers."
            )
        return draw(effect, like)

    return checked


def target_states(device: Device, layout: WeightLayout, exact: Tensor, limit: Tensor) -> Iterator[Tensor]:
    """Yield the target states [unit] of each device of a matrix (outputs, inputs) of float32 at least."""
    low, high = device.programming_window
    u = relative_weights(exact, limit)
    for g in layout.mapping.to_states(u, low / high, layout.cell_bits):
        yield g.mul_(high)


def stuck_states(device: Device, layout: WeightLayout, matrix: Tensor, layer: str) -> Tensor | None:
    """Return the stuck states [unit] (devices, outputs, inputs) of a layer, NaN where a device works; None: no map.

    Raises:
        InputError: if the fault map of the layer has another shape.
    """
    if device.fault_map is None:
        return None
    shape = (len(layout.mapping.signs), *matrix.shape)
    states = device.fault_map.states_of(layer, shape, device.programming_window)
    return None if states is None else states.to(matrix)


def _with_stuck(states: CellStates, stuck: Tensor, fresh: Tensor) -> CellStates:
    now = set_stuck(states.now, stuck)
    same = stuck is fresh and states.now is states.programmed
    return CellStates(now if same else set_stuck(states.programmed, fresh), now)


def set_stuck(states: Tensor, stuck: Tensor) -> Tensor:
    """Return the states, with those of stuck devices where `stuck` is not NaN."""
    return torch.where(stuck.isnan(), states, stuck)


def faulty_weights(
    device: Device, layout: WeightLayout, matrix: Tensor, *, layer: str = "", checked: bool = True
) -> Tensor:
    """Compute the weights that a chip with the stuck devices of the fault map, and no other error, represents."""
    exact = matrix.to(torch.promote_types(matrix.dtype, torch.float32))
    limit = layout.weight_limit(exact, layer=layer, checked=checked)
    stuck = stuck_states(device, layout, exact, layer)
    states = target_states(device, layout, exact, limit)
    if stuck is not None:
        states = (set_stuck(target, faults) for target, faults in zip(states, stuck, strict=True))
    return read_back(device, layout, Cells((CellStates(state, state) for state in states), limit))


def read_back(device: Device, layout: WeightLayout, cells: Cells) -> Tensor:
    """Compute the weights (outputs, inputs) that devices represent; their states are consumed."""
    low, high = device.programming_window
    states = (cell.now.div_(high) for cell in cells.states)
    return layout.mapping.to_weights(states, low / high, layout.cell_bits).mul_(cells.limit)


def layer_draws(*chips: Axes, cycle: int = 0, first_row: int = 0) -> LayerDraws:
    """Create the random numbers of one layer's devices, with one stream per (chip, device of the mapping, effect).

    The numbers of an effect do not depend on other effects, and a chip is the same at every time, in float64 and on
    every device (see `random_numbers`). Another `cycle`, the number of the programming, has other numbers for all but
    `DEVICE_EFFECTS`.

    Args:
        *chips: Axes of the layer on each chip, whose rows are programmed one after another.
        cycle: Number of the programming.
        first_row: The output that the first row of what is programmed belongs to.
    """

    def device_draws(array: int) -> Draw:
        def draw(effect: str, like: Tensor) -> Tensor:
            named: dict[str, str | int] = {"array": array, "effect": effect}
            if cycle and effect not in DEVICE_EFFECTS:
                named["cycle"] = cycle
            own = [axes.at(**named) for axes in chips]
            distribution = uniform if effect in ("stuck", "programming-uniform") else normal
            return distribution(own, like, first_row)

        return draw

    return device_draws
