"""Target and programmed states of a model's devices, with their addresses, as a chip's programmer needs them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from torch import Tensor

from aimc_robust.errors import InputError, join_names
from aimc_robust.hardware.config.addresses import Addresses
from aimc_robust.hardware.config.state_arrays import StateArrays, state_arrays
from aimc_robust.hardware.config.state_files import array_name
from aimc_robust.io.array_files import write_arrays


@dataclass(frozen=True, kw_only=True, eq=False)
class DeviceStates:
    """States of the devices of a model on one chip, (devices, outputs, inputs and bias rows) for each layer.

    Each access to a layer's tensor returns a copy. `dataclasses.replace(states, programmed=measured)` takes others.

    Attributes:
        device: Name of the card; of each, where there are several.
        unit: Unit of the states.
        time_s: Seconds since programming.
        target: Layer -> states that are to be programmed.
        programmed: Layer -> states of the chip at `time_s`, with programming error, stuck devices and drift.
        fresh: Layer -> states of the chip directly after programming.
        addresses: Layer -> where its devices lie.
        weight_limits: Layer -> weight at the end of the window, one or one for each output.
        windows: Layer -> programming window.

    Raises:
        InputError: if an array is not of states, or a layer of `programmed` is missing elsewhere.
    """

    device: str
    unit: str
    time_s: float
    target: Mapping[str, Tensor]
    programmed: Mapping[str, Tensor]
    fresh: Mapping[str, Tensor]
    addresses: Mapping[str, Addresses]
    weight_limits: Mapping[str, Tensor]
    windows: Mapping[str, tuple[float, float]]

    def __post_init__(self) -> None:
        for name in ("target", "programmed", "fresh"):
            object.__setattr__(self, name, state_arrays(getattr(self, name)))
        object.__setattr__(self, "weight_limits", StateArrays(self.weight_limits))
        for name in ("target", "fresh", "addresses", "weight_limits", "windows"):
            if missing := [layer for layer in self.programmed if layer not in getattr(self, name)]:
                raise InputError(f"{name} of device states lacks the layers {join_names(missing)}.")

    def records(self, layer: str) -> dict[str, np.ndarray]:
        """Return what is recorded of a layer beside its states: the arrays `LAYER/...` of `save`.

        Raises:
            KeyError: if there is no such layer.
        """
        place = self.addresses[layer]
        fresh = {"fresh": self.fresh[layer].numpy()} if self.time_s else {}
        return fresh | {
            "target": self.target[layer].numpy(),
            "devices": place.devices,
            "columns": place.columns,
            "rows": place.rows,
            "weight_limit": self.weight_limits[layer].numpy(),
            "window": np.array(self.windows[layer]),
        }

    def save(self, path: str | Path) -> None:
        """Write everything to an .npz or .safetensors file, which `program(states=...)` reads.

        `LAYER` holds the programmed states, `LAYER/target` the targets, `LAYER/fresh`, if `time_s` is above 0, the
        states directly after programming, `LAYER/devices`, `LAYER/columns` and `LAYER/rows` the addresses (see
        `Addresses`), `LAYER/weight_limit` the weight at the end of the window, `LAYER/window` the window. In the name
        of a layer `/` and `%` are written %2F and %25. The text (metadata of safetensors; in an .npz arrays whose names
        begin with a slash) is `device`, `unit` and `time_s`.

        Raises:
            InputError: if the path has another ending.
            ResultsError: if the file cannot be written.
        """
        arrays: dict[str, np.ndarray] = {}
        for layer, programmed in self.programmed.items():
            arrays[array_name(layer)] = programmed.numpy()
            arrays |= {array_name(layer, record): array for record, array in self.records(layer).items()}
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
