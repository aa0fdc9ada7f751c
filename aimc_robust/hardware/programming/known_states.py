"""Known states of a real chip: its stuck devices, or all of its devices as measured. Both are checked by layer."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from aimc_robust.devices.cell_model_checks import programming_std
from aimc_robust.errors import InputError, join_names, require_type, unknown_name
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.config.fault_map import FaultMap
from aimc_robust.hardware.config.placement import Hardware, stored_weights
from aimc_robust.hardware.programming.programmed_matrix import with_bias_rows
from aimc_robust.hardware.programming.weights_to_states import stuck_states
from aimc_robust.noise.analog_weights import analog_weights
from aimc_robust.noise.weight_shift import derived_weights

SPREAD = 6.0  # standard deviations of the programming error by which a state may leave the limits without a warning

States = Mapping[str, Any]
"""Layer -> states of its devices (devices, outputs, inputs and bias rows) [unit of the card]; see `FaultMap`."""


def has_fault_maps(hardware: Hardware) -> bool:
    """Whether a crossbar has known stuck devices."""
    return any(crossbar.device.fault_map is not None for crossbar in hardware.crossbars)


def check_fault_maps(prepared: nn.Module, hardware: Hardware, *, stacklevel: int = 2) -> None:
    """Check that the fault maps of crossbars, if they have any, belong to a model.

    Warns, or raises InputError (see `on_out_of_range`), if a state lies outside the limits of the card by more than
    `SPREAD` standard deviations of the programming error there, which a programmed state need not keep to; 0 is a
    device without current. The unit and signs of the states are checked where the crossbar is made.

    Raises:
        UnknownNameError: if a map names a layer that the model does not have.
        InputError: if the map of a layer has another shape than its devices, or is not that of its crossbar.
    """
    for layer, crossbar, states in check_names_and_shapes(prepared, hardware):
        cell = crossbar.device.cell
        least, most = cell.limits
        low_std, high_std = programming_std(cell, torch.tensor(cell.limits, dtype=torch.float64)).tolist()
        is_low = (states > 0) & (states < least - SPREAD * low_std)
        outside = states[torch.isfinite(states) & (is_low | (states > most + SPREAD * high_std))]
        if not len(outside):
            continue
        message = (
            f"{cell.name}: {len(outside)} states of the layer {layer!r} are far outside the limits {least:g} to "
            f"{most:g} {cell.unit} of the device, such as {float(outside[0]):g}; they are used as they are. Check "
            "their unit."
        )
        if crossbar.device.on_out_of_range == "error":
            raise InputError(message)
        warnings.warn(message, stacklevel=stacklevel + 1)


def check_names_and_shapes(model: nn.Module, hardware: Hardware) -> list[tuple[str, Crossbar, Tensor]]:
    """Return (layer, its crossbar, its stuck states) of the fault maps; raise as `check_fault_maps` does."""
    maps = [crossbar.device.fault_map for crossbar in hardware.crossbars if crossbar.device.fault_map is not None]
    if not maps:
        return []
    weights = {weight.array_owner: weight for weight in analog_weights(model).values()}
    weights |= {weight.layer: weight.matrix() for weight in derived_weights(model)}  # of a model in training
    found: dict[str, tuple[str, Crossbar, Tensor]] = {}
    for layer in dict.fromkeys(layer for faults in maps for layer in faults.layers):
        if layer not in weights:
            raise unknown_name("layer of the fault map", layer, weights, advice="See ar.coverage(model).layers.")
        crossbar = hardware.crossbar_of(layer)
        if crossbar is None:
            continue  # digital: it has no devices
        stuck = stuck_states(crossbar.device, crossbar.weights, with_bias_rows(crossbar, weights[layer]), layer)
        if stuck is None:
            raise InputError(
                f"the layer {layer!r} is in the fault map of another crossbar than its own, {crossbar.device.cell.name}"
                "; give that one the map too."
            )
        found[layer] = layer, crossbar, stuck
    return list(found.values())


def with_states(
    prepared: nn.Module, hardware: Hardware, states: Any, *, time_s: float = 0.0, cycle: int = 0
) -> Hardware:
    """Return the crossbar on which every device of a prepared model holds its measured state: all are stuck at it.

    `states` are those of `program`. What names another layer, or has another shape, is left to `check_fault_maps`.

    Raises:
        InputError: if a layer has no states, a state is not finite or negative, or a time or a cycle is given, which
            measured states do not have.
        DataError: if the file is missing or damaged.
    """
    if time_s or cycle:
        raise InputError("measured states are those of one time and one programming; omit time_s and cycle.")
    measured = FaultMap.load(states) if isinstance(states, str | Path) else states
    if not isinstance(measured, FaultMap):
        measured = getattr(measured, "programmed", measured)  # of a DeviceStates
        require_type("states", measured, Mapping, example="a mapping from layers to arrays, a DeviceStates, or a file")
        measured = FaultMap(measured)
    layers = [weight.array_owner for weight in stored_weights(prepared, hardware).values()]
    missing = [name for name in layers if name not in measured.layers]
    if missing:
        raise InputError(f"states are missing for the layers {join_names(missing)}; give those of every layer.")
    for name, values in measured.layers.items():
        if not torch.isfinite(values).all():
            raise InputError(
                f"the states of the layer {name!r} hold NaN or infinity; every device needs a measured state. A map of "
                "stuck devices alone belongs to Crossbar(stuck=...)."
            )
    return hardware.map(lambda crossbar: crossbar.replace(stuck=measured))
