"""The stuck devices of a real chip, checked by layer; so are the devices of a chip of which all are measured."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from aimc_robust.devices.cell_model_checks import programming_std
from aimc_robust.errors import InputError, unknown_name
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.config.placement import Hardware
from aimc_robust.hardware.programming.programmed_matrix import with_bias_rows
from aimc_robust.hardware.programming.weights_to_states import stuck_states
from aimc_robust.noise.analog_weights import analog_weights
from aimc_robust.noise.weight_shift import derived_weights

SPREAD = 6.0  # standard deviations of the programming error by which a state may leave the limits without a warning


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
