"""Target and programmed states of a model's devices, with their addresses, as a chip's programmer needs them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from aimc_robust.errors import InputError, require_whole
from aimc_robust.hardware.config.addresses import Addresses, matrix_addresses
from aimc_robust.hardware.config.deployment import Deployment
from aimc_robust.hardware.config.placement import Hardware, Layers, place, stored_weights
from aimc_robust.hardware.conversion.prepare import prepare
from aimc_robust.hardware.program import check_program, chip_axes
from aimc_robust.hardware.programming.programmed_matrix import Chip, with_bias_rows
from aimc_robust.hardware.programming.weights_to_states import program_matrix, target_states
from aimc_robust.io.array_files import write_arrays


@dataclass(frozen=True, kw_only=True, eq=False)
class DeviceStates:
    """States of the devices of a model on one chip, (devices, outputs, inputs and bias rows) for each layer.

    Attributes:
        device: Name of the card; of each, where there are several.
        unit: Unit of the states.
        time_s: Seconds since programming.
        target: Layer -> states that are to be programmed.
        programmed: Layer -> states of the chip at `time_s`, with programming error, stuck devices and drift.
        addresses: Layer -> where its devices lie.
        weight_limits: Layer -> weight at the end of the window, one or one for each output.
    """

    device: str
    unit: str
    time_s: float
    target: Mapping[str, Tensor]
    programmed: Mapping[str, Tensor]
    addresses: Mapping[str, Addresses]
    weight_limits: Mapping[str, Tensor]

    def save(self, path: str | Path) -> None:
        """Write everything to an .npz or .safetensors file, which `program(states=...)` reads.

        `LAYER` holds the programmed states, `LAYER/target` the targets, `LAYER/devices`, `LAYER/columns` and
        `LAYER/rows` the addresses (see `Addresses`), `LAYER/weight_limit` the weight at the end of the window. The text
        (metadata of safetensors; in an .npz arrays whose names begin with a slash) is `device`, `unit` and `time_s`.

        Raises:
            InputError: if the path has another ending.
            ResultsError: if the file cannot be written.
        """
        arrays: dict[str, np.ndarray] = {}
        for layer, programmed in self.programmed.items():
            place = self.addresses[layer]
            arrays |= {layer: programmed.numpy(), f"{layer}/target": self.target[layer].numpy()}
            arrays |= {f"{layer}/{name}": getattr(place, name) for name in ("devices", "columns", "rows")}
            arrays[f"{layer}/weight_limit"] = self.weight_limits[layer].numpy()
        write_arrays(Path(path), arrays, {"device": self.device, "unit": self.unit, "time_s": repr(self.time_s)})

    def table(self, layer: str) -> pd.DataFrame:
        """Return one row for each device of a layer: its weight, its address (see `Addresses`), its states.

        Raises:
            KeyError: if there is no such layer.
        """
        place, target = self.addresses[layer], self.target[layer]
        device, output, row = (index.reshape(-1) for index in np.indices(target.shape))
        return pd.DataFrame(
            {
                "device": device,
                "output": output,
                "input": row,
                "bank": place.devices[device, 0],
                "sign": place.devices[device, 1],
                "group": place.columns[output, 0],
                "array_row": place.rows[row, 0],
                "array_column": place.columns[output, 1],
                "row": place.rows[row, 1],
                "column": place.columns[output, 2],
                "target": target.flatten().numpy(),
                "programmed": self.programmed[layer].flatten().numpy(),
            }
        )


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

    Example:
        >>> states = device_states(torch.nn.Linear(4, 2), Crossbar("rram-wan2022"), chip=3)
        >>> states.target["weight"].shape
        torch.Size([2, 2, 4])
    """
    hardware = place(crossbar, layers)
    units = list(dict.fromkeys(each.device.cell.unit for each in hardware.crossbars))
    if len(units) > 1:
        raise InputError(f"the states of these crossbars are in {' and '.join(units)}; ask for those of one at a time.")
    prepared, _ = prepare(model, None if example is None else lambda: example, hardware=hardware, fold=fold)
    check_program(prepared, hardware, time_s, deployment=Deployment(fold=fold), stacklevel=3)
    require_whole("cycle", cycle, low=0)
    on_chip = Chip(axes=chip_axes(chip_seed, chip), time_s=time_s, cycle=cycle)
    targets, programmed, addresses, limits = {}, {}, {}, {}
    for weight in stored_weights(prepared, hardware).values():
        name, own = weight.array_owner, hardware.crossbar_of(weight.layer)
        assert own is not None
        matrix, device, layout = with_bias_rows(own, weight), own.device, own.weights
        with own.naming_layer(name):
            cells = program_matrix(device, layout, matrix, on_chip.draws(weight), time_s=time_s, layer=name)
            programmed[name] = torch.stack([cell.now for cell in cells.states]).cpu()
            exact = matrix.to(programmed[name].dtype)
            targets[name] = torch.stack(list(target_states(device, layout, exact, cells.limit))).cpu()
        limits[name] = cells.limit.cpu()
        groups = getattr(weight.module, "groups", 1)
        addresses[name] = matrix_addresses(layout.mapping, own.arrays, *matrix.shape, groups=groups)
    return DeviceStates(
        device=", ".join(each.device.cell.name for each in hardware.crossbars),
        unit=units[0],
        time_s=time_s,
        target=targets,
        programmed=programmed,
        addresses=addresses,
        weight_limits=limits,
    )
