"""Program one weight matrix: weights -> target states -> states of one chip at one time -> weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from aimc_robust.devices.cells import CellStates, Draw, share_with_device
from aimc_robust.devices.states import cell_states
from aimc_robust.hardware.config.device import Device
from aimc_robust.hardware.config.weight_layout import WeightLayout, relative_weights
from aimc_robust.seeding import Axes

LayerDraws = Callable[[int], Draw]
"""Number of a device in the mapping -> its random numbers: draw(effect, like), like `like`."""

DEVICE_EFFECTS = ("device", "stuck")
"""Effects that belong to a device, whenever it is programmed."""

BLOCK = 2**17  # weights that are programmed at a time: what is computed of them stays in the cache


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
    generator: torch.Generator,
    *,
    time_s: float = 0.0,
    cycle: int = 0,
    layer: str = "",
    checked: bool = True,
) -> Tensor:
    """Compute `read_back` of `program_matrix` with the draws of a generator, block by block of the outputs."""
    exact = matrix.to(torch.promote_types(matrix.dtype, torch.float32))
    limit = layout.weight_limit(exact, layer=layer, checked=checked)
    draws = layer_draws(generator, cycle=cycle, in_blocks=True)
    stuck = stuck_states(device, layout, exact, layer)
    weights = torch.empty(exact.shape, dtype=exact.dtype, device=exact.device)
    for rows in _blocks(exact, generator):
        part = limit[rows] if limit.ndim else limit
        faults = None if stuck is None else stuck[:, rows]
        cells = Cells(_states(device, layout, exact[rows].contiguous(), part, draws, time_s, faults, faults), part)
        weights[rows] = read_back(device, layout, cells)
    return weights


def _blocks(matrix: Tensor, generator: torch.Generator) -> Iterator[slice]:
    """Slices of a matrix whose draws, one after another, are those of the whole matrix; on a GPU the whole.

    torch's CPU generator makes Gaussian numbers in groups of 16, the last group anew if it is not full.
    """
    outputs, inputs = matrix.shape
    on_cpu = matrix.is_cpu and generator.device.type == "cpu"
    starts = range(0, max(outputs - 15, 1), max(BLOCK // max(inputs, 1) // 16, 1) * 16 if on_cpu else max(outputs, 1))
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
) -> Iterator[CellStates]:
    for number, target in enumerate(target_states(device, layout, exact, limit)):
        draw = share_with_device(draws(number), device.cell.programming_device_share)
        states = cell_states(device.cell, target, draw, **device.state_options(time_s))
        yield states if stuck is None or fresh is None else _with_stuck(states, stuck[number], fresh[number])


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


def layer_draws(generator: torch.Generator, *, cycle: int = 0, in_blocks: bool = False) -> LayerDraws:
    """Create the random numbers of one layer's devices, with one stream per (device of the mapping, effect).

    The numbers of an effect do not depend on other effects, and a chip is the same at every time. They are drawn in
    float32 on the generator's device, whatever the weight's dtype and device: a float64 copy of a model, or one on a
    GPU, sees the same chip. Another `cycle`, the number of the programming, has other numbers for all but
    `DEVICE_EFFECTS`. With `in_blocks` each further call for a device continues its streams.
    """
    device = str(generator.device)
    streams: dict[tuple[int, str], torch.Generator] = {}
    root = Axes(int(torch.randint(2**62, (), generator=generator, device=generator.device)))

    def device_draws(array: int) -> Draw:
        began: dict[str, Tensor] = {}  # effect -> state of its stream, so that a second draw gives the same numbers

        def draw(effect: str, like: Tensor) -> Tensor:
            axes = root.at(array=array, effect=effect)
            if cycle and effect not in DEVICE_EFFECTS:
                axes = axes.at(cycle=cycle)
            stream = streams.get((array, effect)) or axes.generator(device)
            if in_blocks:
                streams[array, effect] = stream
                if effect in began:
                    stream.set_state(began[effect])
                else:
                    began[effect] = stream.get_state()
            uniform = effect in ("stuck", "programming-uniform")
            numbers = (torch.rand if uniform else torch.randn)(
                like.shape, generator=stream, device=generator.device, dtype=torch.float32
            )
            return numbers.to(device=like.device, dtype=like.dtype)

        return draw

    return device_draws
