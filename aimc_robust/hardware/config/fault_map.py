"""The stuck devices of one chip: which device of which weight, and the state that it holds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aimc_robust.errors import InputError, require_type
from aimc_robust.io.array_files import read_arrays, write_arrays


class FaultMap:
    """The known stuck devices of one chip, for `Crossbar(stuck=...)`.

    A stuck device holds its state whatever is programmed, without programming error and drift; read noise acts on it.
    Nothing else is stuck: with a map, the fractions of the card do not count.

    Args:
        layers: Layer, as `ar.coverage(model).layers` names it -> array (devices, outputs, inputs), with the devices of
            the mapping in the order of `WeightMapping.signs` (G+, G- for `one-sided`), the outputs and inputs of
            `weight.flatten(1)`, and the bias rows, if there are any, behind the inputs. NaN: the device works. A
            number: it is stuck at this state [unit of the card]; -inf and inf: at the low and the high end of the
            programming window. A layer without an entry has no stuck devices.
        unit: Unit of the states, which must be that of the card; empty: that of the card.

    Raises:
        InputError: if an array is not of numbers or has not three dimensions, or a state is negative.

    Example:
        >>> faults = FaultMap({"fc": [[[float("nan"), 25.0]], [[float("nan"), float("nan")]]]})  # G+ of w[0, 1]
        >>> Crossbar("rram-wan2022", stuck=faults)  # doctest: +SKIP
    """

    layers: Mapping[str, Tensor]
    unit: str

    def __init__(self, layers: Mapping[str, Any], *, unit: str = "") -> None:
        require_type("layers of a fault map", layers, Mapping, example="a mapping from layers to arrays")
        require_type("unit", unit, str, example="text such as uS")
        self.layers = {name: as_states(name, values) for name, values in layers.items()}
        self.unit = unit
        for name, states in self.layers.items():
            negative = states[torch.isfinite(states) & (states < 0)]
            if len(negative):
                raise InputError(
                    f"the fault map of the layer {name!r} has a negative state, {float(negative[0]):g}; states are "
                    "conductances of at least 0, NaN where a device works."
                )

    @classmethod
    def load(cls, path: str | Path) -> FaultMap:
        """Read a map from an .npz or .safetensors file: one array for each layer, under the layer's name.

        Arrays whose names hold a slash are left out; the text `unit`, in an .npz the array `/unit`, is the unit.

        Raises:
            InputError: if an array is not a map.
            DataError: if the file is missing or damaged.
        """
        arrays, text = read_arrays(Path(path))
        try:
            return cls({name: array for name, array in arrays.items() if "/" not in name}, unit=text.get("unit", ""))
        except InputError as error:
            raise InputError(f"{path}: {error}") from None

    def save(self, path: str | Path) -> None:
        """Write the map to an .npz or .safetensors file, see `load`.

        Raises:
            InputError: if the path has another ending.
            ResultsError: if the file cannot be written.
        """
        arrays = {name: states.numpy() for name, states in self.layers.items()}
        write_arrays(Path(path), arrays, {"unit": self.unit} if self.unit else {})

    @property
    def stuck_devices(self) -> int:
        """Number of stuck devices."""
        return sum(int((~torch.isnan(states)).sum()) for states in self.layers.values())

    @cached_property
    def digest(self) -> str:
        """Hash of the content: maps of equal content are equal."""
        digest = hashlib.blake2b(self.unit.encode(), digest_size=8)
        for name in sorted(self.layers):
            states = self.layers[name]
            digest.update(f"\n{name} {tuple(states.shape)}\n".encode())
            digest.update(
                states.double().nan_to_num(nan=torch.nan, posinf=torch.inf, neginf=-torch.inf).numpy().tobytes()
            )
        return digest.hexdigest()

    def states_of(self, layer: str, shape: tuple[int, ...], window: tuple[float, float]) -> Tensor | None:
        """Return the stuck states of a layer whose devices have this shape, NaN where a device works.

        Raises:
            InputError: if the map of the layer has another shape.
        """
        states = self.layers.get(layer)
        if states is None:
            return None
        if tuple(states.shape) != shape:
            raise InputError(
                f"the fault map of the layer {layer!r} has shape {tuple(states.shape)}, but its devices have {shape}: "
                "(devices of the mapping, outputs, inputs and bias rows)."
            )
        low, high = window
        return states.masked_fill(states == -torch.inf, low).masked_fill_(states == torch.inf, high)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FaultMap) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"FaultMap({len(self.layers)} layers, {self.stuck_devices} stuck devices, digest {self.digest})"


def as_states(layer: str, values: Any) -> Tensor:
    """Return the states of a layer's devices as a tensor on the CPU, float32 or float64.

    Raises:
        InputError: if they are no numbers, or have not three dimensions.
    """
    try:
        array = values.detach().cpu() if isinstance(values, Tensor) else torch.from_numpy(np.array(values))
    except (TypeError, ValueError) as error:
        raise InputError(f"the states of the layer {layer!r} must be an array of numbers: {error}.") from None
    if array.ndim != 3 or array.is_complex() or array.dtype == torch.bool:
        raise InputError(
            f"the states of the layer {layer!r} must be numbers of shape (devices, outputs, inputs), got "
            f"{array.dtype} of shape {tuple(array.shape)}."
        )
    if not array.is_floating_point():
        return array.double()
    return array.to(torch.promote_types(array.dtype, torch.float32), copy=True)
