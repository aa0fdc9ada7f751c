"""Compute the target and programmed states of a model's devices on one chip."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from aimc_robust.errors import InputError, require_whole
from aimc_robust.hardware.config.addresses import matrix_addresses
from aimc_robust.hardware.config.deployment import Deployment
from aimc_robust.hardware.config.device_states import DeviceStates
from aimc_robust.hardware.config.placement import Hardware, Layers, place, stored_weights
from aimc_robust.hardware.conversion.prepare import prepare
from aimc_robust.hardware.program import check_program, chip_axes
from aimc_robust.hardware.programming.programmed_matrix import Chip, with_bias_rows
from aimc_robust.hardware.programming.weights_to_states import program_matrix, target_states


@torch.no_grad()
def device_states(
    model: nn.Module,
    crossbar: Hardware,
    *,
    layers: Layers | None = None,
    chip: int = 0,
    chip_seed: int = 0,
    time_s: float = 0.0,
    cycle: int = 0,
    fold: bool = True,
    example: Any = None,
) -> DeviceStates:
    """Return the target and programmed states of every device of a model on one chip, with their addresses.

    The arguments and the chip are those of `program`; `program(model, crossbar, states=...)` of the states at time 0 is
    the same chip. Layers that share a weight share their devices, under the first one's name.

    Args:
        model: The trained model; not modified.
        crossbar: The crossbar, or a `Placement` on several whose states have one unit.
        layers: Layers that are not on it, see `program`.
        chip: Number of the chip.
        chip_seed: Root seed of all chips.
        time_s: Seconds since programming.
        cycle: Number of the programming of this chip.
        fold: Whether BatchNorms are folded, see `Deployment`.
        example: Input of the model, to fold BatchNorms of one that cannot be traced.

    Raises:
        InputError: see `program`.

    Examples:
        >>> states = device_states(torch.nn.Linear(4, 2), Crossbar("rram-wan2022"), chip=3)
        >>> states.target["weight"].shape
        torch.Size([2, 2, 4])
    """
    hardware = place(crossbar, layers)
    units = list(dict.fromkeys(each.device.cell.unit for each in hardware.crossbars))
    if len(units) > 1:
        raise InputError(f"the states of these crossbars are in {' and '.join(units)}; ask for those of one at a time.")
    prepared, _ = prepare(model, None if example is None else lambda: example, hardware=hardware, fold=fold)
    check_program(prepared, hardware, time_s, deployment=Deployment(fold=fold))
    require_whole("cycle", cycle, low=0)
    on_chip = Chip(axes=chip_axes(chip_seed, chip), time_s=time_s, cycle=cycle)
    targets, programmed, fresh, addresses, limits, windows = {}, {}, {}, {}, {}, {}
    for weight in stored_weights(prepared, hardware).values():
        name, own = weight.array_owner, hardware.crossbar_of(weight.layer)
        assert own is not None
        matrix, device, layout = with_bias_rows(own, weight), own.device, own.weights
        with own.naming_layer(name):
            cells = program_matrix(device, layout, matrix, on_chip.draws(weight), time_s=time_s, layer=name)
            states = list(cells.states)
            programmed[name] = torch.stack([cell.now for cell in states])
            fresh[name] = torch.stack([cell.programmed for cell in states])
            exact = matrix.to(programmed[name].dtype)
            targets[name] = torch.stack(list(target_states(device, layout, exact, cells.limit)))
        limits[name], windows[name] = cells.limit, device.programming_window
        groups = getattr(weight.module, "groups", 1)
        addresses[name] = matrix_addresses(layout.mapping, own.arrays, *matrix.shape, groups=groups)
    return DeviceStates(
        device=", ".join(each.device.cell.name for each in hardware.crossbars),
        unit=units[0],
        time_s=time_s,
        target=targets,
        programmed=programmed,
        fresh=fresh,
        addresses=addresses,
        weight_limits=limits,
        windows=windows,
    )
