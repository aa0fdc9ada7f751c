"""The stuck devices of a real chip, checked by layer; so are the devices of a chip of which all are measured."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from aimc_robust.devices.cell_model_checks import programming_std
from aimc_robust.errors import InputError, unknown_name, warn
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.config.placement import Hardware
from aimc_robust.hardware.programming.programmed_matrix import with_bias_rows
from aimc_robust.hardware.programming.weights_to_states import stuck_states
from aimc_robust.noise.analog_weights import analog_weights
from aimc_robust.noise.weight_shift import derived_weights

GROSS = 100.0  # times the largest state of the card, beyond which a state is in another unit
SPREAD = 6.0  # standard deviations of the programming error by which a state may leave the limits without a warning


def has_fault_maps(hardware: Hardware) -> bool:
    """Whether a crossbar has known stuck devices."""
    return any(crossbar.device.fault_map is not None for crossbar in hardware.crossbars)


def check_fault_maps(prepared: nn.Module, hardware: Hardware) -> None:
    """Check that the fault maps of crossbars, if they have any, belong to a model.

    Warns, or raises InputError (see `on_out_of_range`), if a state lies outside the limits of the card by more than
    `SPREAD` standard deviations of the programming error there, which a programmed state need not keep to; 0 is a
    device without current. The unit and signs of the states are checked where the crossbar is made.

    Raises:
        UnknownNameError: if a map names a layer that the model does not have.
        InputError: if the map of a layer has another shape than its devices, or is not that of its crossbar, or its
            states are so far from the card's that they are in another unit.
    """
    for layer, crossbar, states in check_names_and_shapes(prepared, hardware):
        cell = crossbar.device.cell
        least, most = cell.limits
        _check_unit(layer, crossbar, states)
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
        warn(message)


def _check_unit(layer: str, crossbar: Crossbar, states: Tensor) -> None:
    """Raise InputError if a state is beyond any device of the card, or those of a whole layer are."""
    cell = crossbar.device.cell
    most = max(cell.limits[1], crossbar.device.programming_window[1])
    conducting = states[torch.isfinite(states) & (states > 0)]
    if not len(conducting):
        return
    largest, middle = float(conducting.max()), float(conducting.median())
    is_whole = not bool(torch.isnan(states).any())  # measured states, not stuck devices alone
    if largest > GROSS * most or (is_whole and (middle > 2.0 * most or largest < 0.01 * most)):
        raise InputError(
            f"the states of the layer {layer!r} cannot be in {cell.unit}: they reach {largest:g}, half of them lie "
            f"below {middle:g}, and {cell.name} has states up to {most:g} {cell.unit}. Convert them to {cell.unit}."
        )


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
            raise unknown_name(
                f"layer of the {maps[0].subject}", layer, weights, advice="See ar.coverage(model).layers."
            )
        crossbar = hardware.crossbar_of(layer)
        if crossbar is None:
            continue  # digital: it has no devices
        stuck = stuck_states(
            crossbar.device, crossbar.weights, with_bias_rows(crossbar, weights[layer], checked=False), layer
        )
        if stuck is None:
            raise InputError(
                f"the layer {layer!r} is in the fault map of another crossbar than its own, {crossbar.device.cell.name}"
                "; give that one the map too."
            )
        found[layer] = layer, crossbar, stuck
    return list(found.values())
