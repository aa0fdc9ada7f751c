"""The measured states of a chip, for `program(states=...)`: do they belong to the model and the crossbar?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from aimc_robust.devices.limits import require_time
from aimc_robust.errors import DataError, InputError, join_names, require_type, warn
from aimc_robust.hardware.config.addresses import matrix_addresses
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.config.device_states import DeviceStates
from aimc_robust.hardware.config.fault_map import FaultMap
from aimc_robust.hardware.config.placement import Hardware, stored_weights
from aimc_robust.hardware.config.state_files import read_states
from aimc_robust.hardware.programming.programmed_matrix import with_bias_rows
from aimc_robust.hardware.programming.weights_to_states import target_states
from aimc_robust.noise.analog_weights import AnalogWeight

States = Mapping[str, Any]
"""Layer -> states of its devices (devices, outputs, inputs and bias rows) [unit of the card]; see `FaultMap`."""

TOLERANCE = 1e-4  # relative, of what is recorded with the states
CAUSES = {
    "devices": "another mapping",
    "window": "another window",
    "weight_limit": "other weights, folding of BatchNorms, scaling or weight_percentile",
    "target": "other weights, folding of BatchNorms, mapping or cell_bits",
}


class MeasuredStates(FaultMap):
    """States of all devices of one chip at one time, and what is recorded with them.

    Args:
        layers: Layer -> states.
        unit: Unit of the states; empty: that of the card.
        time_s: Seconds since programming at which the states are those of the chip; None: unknown.
        records: Layer -> record -> array, see `DeviceStates.save`.

    Raises:
        InputError: if a state is not finite or negative, or the time is none.
    """

    subject = "array of states"

    def __init__(
        self,
        layers: Mapping[str, Any],
        *,
        unit: str = "",
        time_s: float | None = None,
        records: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        super().__init__(layers, unit=unit)
        self.time_s, self.records = time_s, records or {}
        if time_s is not None:
            require_time(time_s)
        fresh = {layer: each.get("fresh", each.get("target")) for layer, each in self.records.items()}
        self._fresh = FaultMap({layer: states for layer, states in fresh.items() if time_s and states is not None})
        for layer, values in self._fresh.layers.items():
            if layer in self.layers and values.shape != self.layers[layer].shape:
                raise InputError(
                    f"the states of the layer {layer!r} directly after programming have shape {tuple(values.shape)}, "
                    f"those of later {tuple(self.layers[layer].shape)}."
                )
        for states in (self.layers, self._fresh.layers):
            for layer, values in states.items():
                if not torch.isfinite(values).all():
                    raise InputError(
                        f"the states of the layer {layer!r} hold NaN or infinity; every device needs a measured state. "
                        "A map of stuck devices alone belongs to Crossbar(stuck=...)."
                    )

    def fresh_states(self, layer: str, stuck: Tensor) -> Tensor:
        """Return the states of a layer directly after programming as recorded, else its targets, else its states."""
        fresh = self._fresh.states_of(layer, tuple(stuck.shape), (0.0, 0.0))
        return stuck if fresh is None else fresh.to(stuck)


def with_states(
    prepared: nn.Module,
    hardware: Hardware,
    states: Any,
    *,
    time_s: float = 0.0,
    cycle: int = 0,
    compensates_drift: bool = False,
) -> tuple[Hardware, float]:
    """Return the crossbar on which every device of a prepared model holds its measured state, and the time of reads.

    `states` are those of `program`. What names another layer, or has another shape, is left to `check_fault_maps`.

    Raises:
        InputError: if a layer has no states; if a state is not finite or negative; if the states, by their unit or
            records, are those of another model or crossbar; or if a time, a cycle or drift compensation is asked for,
            which measured states do not have.
        DataError: if the file is missing or damaged.
    """
    if time_s or cycle:
        raise InputError("measured states are those of one time and one programming; omit time_s and cycle.")
    measured = _measured(states)
    if measured.time_s and compensates_drift:
        raise InputError(
            f"the states are those {measured.time_s:g} s after programming; drift compensation measures the chip "
            "directly after programming too. Leave it out."
        )
    weights = list(stored_weights(prepared, hardware).values())
    missing = [weight.array_owner for weight in weights if weight.array_owner not in measured.layers]
    if missing:
        raise InputError(f"states are missing for the layers {join_names(missing)}; give those of every layer.")
    on_chip = hardware.map(lambda crossbar: crossbar.replace(stuck=measured))  # checks the unit
    timed = []
    for weight in weights:
        crossbar = hardware.crossbar_of(weight.layer)
        assert crossbar is not None
        _check_records(weight, crossbar, measured)
        if crossbar.device.reads_with_noise and crossbar.device.cell.read_noise_depends_on_time:
            timed.append(crossbar.device.cell.name)
    if timed and measured.time_s is None:
        warn(
            f"{timed[0]}: read noise depends on the time since programming, which is not recorded with these "
            "states; it is that of time 0. Save them in a file with the text time_s, or use read_noise=False.",
        )
    return on_chip, (measured.time_s or 0.0) if timed else 0.0


def _measured(states: Any) -> MeasuredStates:
    if isinstance(states, DeviceStates):
        records = {layer: states.records(layer) for layer in states.programmed}
        return MeasuredStates(states.programmed, unit=states.unit, time_s=states.time_s, records=records)
    if isinstance(states, FaultMap):
        return MeasuredStates(states.layers, unit=states.unit)
    if not isinstance(states, str | Path):
        require_type("states", states, Mapping, example="a mapping from layers to arrays, a DeviceStates, or a file")
        return MeasuredStates(states)
    file = read_states(Path(states))
    unit, time = file.text.get("unit", ""), file.text.get("time_s")
    try:
        time_s = None if time is None else float(time)
    except ValueError:
        raise DataError(f"{states}: the text time_s must be a number of seconds, got {time!r}.") from None
    try:
        return MeasuredStates(file.layers, unit=unit, time_s=time_s, records=file.records)
    except InputError as error:
        raise InputError(f"{states}: {error}") from None


def _check_records(weight: AnalogWeight, crossbar: Crossbar, measured: MeasuredStates) -> None:
    """Raise InputError if what is recorded with a layer's states is not what the crossbar makes of its weight."""
    layer, device, layout = weight.array_owner, crossbar.device, crossbar.weights
    records = measured.records.get(layer)
    matrix = with_bias_rows(crossbar, weight)
    shape = (len(layout.mapping.signs), *matrix.shape)
    if not records or tuple(measured.layers[layer].shape) != shape:
        return
    exact = matrix.to(torch.promote_types(matrix.dtype, torch.float32))
    with crossbar.naming_layer(layer):
        limit = layout.weight_limit(exact, layer=layer)
        target = torch.stack(list(target_states(device, layout, exact, limit)))
    tolerance = max(TOLERANCE, torch.finfo(matrix.dtype).eps)  # a model in half precision has the weights rounded
    expected = {
        "devices": matrix_addresses(layout.mapping, crossbar.arrays, *matrix.shape, groups=weight.groups).devices,
        "window": np.array(device.programming_window),
        "weight_limit": limit.cpu().numpy(),
        "target": target.cpu().numpy(),
    }
    for record, right in expected.items():
        if record not in records:
            continue
        found = _difference(records[record], right, tolerance, on_average=record == "target")
        if found:
            raise InputError(
                f"the states of the layer {layer!r} are those of {CAUSES[record]}: their {record} {found}. Program the "
                "model and the crossbar that the chip was programmed with, or give the states alone, as arrays."
            )


def _difference(recorded: Any, right: np.ndarray, tolerance: float, *, on_average: bool) -> str:
    """Return how an array differs from the right one by more than a relative tolerance; empty: it does not."""
    try:
        values = np.asarray(recorded).astype(np.float64)
    except (TypeError, ValueError):
        return "are no numbers"
    if values.shape != right.shape:
        return f"has shape {values.shape} instead of {right.shape}"
    error, size = np.abs(values - right), np.abs(right)
    if on_average:  # a single state may be rounded to the neighbouring level
        within = error.mean() <= tolerance * size.max() if right.size else True
        return "" if within else f"differs by {error.mean():.3g} on average"
    wrong = ~(error <= tolerance * size)
    return f"is {values[wrong][0]:g} instead of {right[wrong][0]:g}" if wrong.any() else ""
