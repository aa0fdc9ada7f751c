"""The stuck devices of one chip: which device of which weight, and the state that it holds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from aimc_robust.errors import InputError, require_type
from aimc_robust.hardware.config.state_arrays import StateArrays, state_arrays
from aimc_robust.hardware.config.state_files import array_name, read_states
from aimc_robust.io.array_files import write_arrays


class FaultMap:
    """The known stuck devices of one chip, for `Crossbar(stuck=...)`.

    A stuck device holds its state whatever is programmed, without programming error and drift; read noise acts on it.
    Nothing else is stuck: with a map, the fractions of the card do not count.

    Args:
        layers: Layer, as `ar.coverage(model).layers` names it -> array (devices, outputs, inputs), with the devices of
            the mapping in the order of `WeightMapping.signs` (G+, G- for `one-sided`), the outputs and inputs of
            `weight.flatten(1)`, and the bias rows, if there are any, behind the inputs. NaN, or masked in a masked
            array: the device works. A number: it is stuck at this state [unit of the card]; -inf and inf: at the low
            and the high end of the programming window. A layer without an entry has no stuck devices.
        unit: Unit of the states, which must be that of the card; empty: that of the card.

    Raises:
        InputError: if an array is not of numbers or has not three dimensions, or a state is negative.

    Examples:
        >>> faults = FaultMap({"fc": [[[float("nan"), 25.0]], [[float("nan"), float("nan")]]]})  # G+ of w[0, 1]
        >>> Crossbar("rram-wan2022", stuck=faults)  # doctest: +SKIP
    """

    subject: ClassVar[str] = "fault map"  # in messages

    def __init__(self, layers: Mapping[str, Any], *, unit: str = "") -> None:
        require_type("layers of a fault map", layers, Mapping, example="a mapping from layers to arrays")
        require_type("unit", unit, str, example="text such as uS")
        self._layers = state_arrays(layers)
        self._unit = unit

    @property
    def layers(self) -> StateArrays:
        """Layer -> states, a copy at each access: a map does not change."""
        return self._layers

    @property
    def unit(self) -> str:
        """Unit of the states; empty: that of the card."""
        return self._unit

    @classmethod
    def load(cls, path: str | Path) -> FaultMap:
        """Read a map from an .npz or .safetensors file: one array for each layer, under the layer's name.

        In the name, `/` and `%` of the layer are written %2F and %25. The text `unit`, in an .npz the array `/unit`, is
        the unit. The records of a file of `DeviceStates.save` are accepted.

        Raises:
            InputError: if an array is not a map, or has another name.
            DataError: if the file is missing or damaged.
        """
        file = read_states(Path(path))
        try:
            return cls(file.layers, unit=file.text.get("unit", ""))
        except InputError as error:
            raise InputError(f"{path}: {error}") from None

    def save(self, path: str | Path) -> None:
        """Write the map to an .npz or .safetensors file, see `load`.

        Raises:
            InputError: if the path has another ending.
            ResultsError: if the file cannot be written.
        """
        arrays = {array_name(layer): states.numpy() for layer, states in self.layers.items()}
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
        states = self._layers.uncopied(layer)
        if states is None:
            return None
        if tuple(states.shape) != shape:
            raise InputError(
                f"the {self.subject} of the layer {layer!r} has shape {tuple(states.shape)}, but its devices have "
                f"{shape}: (devices of the mapping, outputs, inputs and bias rows)."
            )
        low, high = window
        return states.masked_fill(states == -torch.inf, low).masked_fill_(states == torch.inf, high)

    def fresh_states(self, layer: str, stuck: Tensor) -> Tensor:
        """Return the states of a layer's stuck devices directly after programming: the same as ever."""
        return stuck

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FaultMap) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"FaultMap({len(self.layers)} layers, {self.stuck_devices} stuck devices, digest {self.digest})"
