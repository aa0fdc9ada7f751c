"""Arrays of device states by layer, which nobody can change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aimc_robust.errors import InputError, require_type


class StateArrays(Mapping[str, Tensor]):
    """Layer -> tensor on the CPU. Each access returns a new copy, so that a change of it changes nothing here."""

    def __init__(self, arrays: Mapping[str, Tensor]) -> None:
        self._arrays = {layer: array.detach().cpu().clone() for layer, array in arrays.items()}

    def __getitem__(self, layer: str) -> Tensor:
        return self._arrays[layer].clone()

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        return repr(self._arrays)

    def uncopied(self, layer: str) -> Tensor | None:
        """Return the tensor itself, which must not be changed; None for another layer."""
        return self._arrays.get(layer)


def state_arrays(layers: Mapping[str, Any]) -> StateArrays:
    """Return the states of layers as tensors on the CPU, float32 or float64; masked entries become NaN.

    Raises:
        InputError: if a name is no text, or an array is not of numbers of at least 0 in three dimensions.
    """
    arrays: dict[str, Tensor] = {}
    for layer, values in layers.items():
        require_type("the name of a layer", layer, str, example="fc")
        arrays[layer] = states = _as_states(layer, values)
        negative = states[torch.isfinite(states) & (states < 0)]
        if len(negative):
            raise InputError(
                f"the layer {layer!r} has a negative state, {float(negative[0]):g}; states are conductances of at "
                "least 0, NaN where a device works."
            )
    return StateArrays(arrays)


def _as_states(layer: str, values: Any) -> Tensor:
    if isinstance(values, np.ma.MaskedArray) and values.dtype.kind in "iuf":
        values = np.ma.filled(values.astype(np.promote_types(values.dtype, np.float32)), np.nan)
    try:
        array = values.detach().cpu() if isinstance(values, Tensor) else torch.from_numpy(np.array(values))
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"the states of the layer {layer!r} must be an array of numbers: {error}.") from None
    if array.ndim != 3 or array.is_complex() or array.dtype == torch.bool or type(array) is not Tensor:
        raise InputError(
            f"the states of the layer {layer!r} must be numbers of shape (devices, outputs, inputs), got "
            f"{type(array).__name__} of {array.dtype} of shape {tuple(array.shape)}."
        )
    if array.layout is not torch.strided:
        raise InputError(f"the states of the layer {layer!r} are a sparse tensor; give a dense one.")
    if not array.is_floating_point():
        return array.double()
    return array.to(torch.promote_types(array.dtype, torch.float32))
