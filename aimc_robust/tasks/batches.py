"""What a batch holds: inputs and labels, as pairs, tuples or mappings, and tensors inside of them."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from aimc_robust.errors import DataError

LABEL_KEYS = ("labels", "label", "targets", "target")
"""Keys of a batch's labels; the first that a batch has counts."""
Batch = Any
"""(inputs, labels); (input, ..., labels) of a model with several arguments; or a mapping with labels under one of
LABEL_KEYS, such as a batch of transformers. Inputs are a tensor, a tuple of arguments, or a mapping of them."""


def unpack(batch: Batch) -> tuple[Any, Any]:
    """Return (inputs, labels) of a batch; raise DataError if it has no labels, or is of another kind."""
    if isinstance(batch, Mapping):
        key = label_key(batch)
        if key is None or len(batch) < 2:
            raise DataError(
                f"expected inputs and labels in each batch, labels under one of the keys {', '.join(LABEL_KEYS)}; got "
                f"the keys {', '.join(map(str, batch)) or 'none'}."
            )
        return {name: values for name, values in batch.items() if name != key}, batch[key]
    if not isinstance(batch, tuple | list) or len(batch) < 2:
        raise DataError(
            f"expected an (inputs, labels) pair, several inputs and labels, or a mapping as each batch, got "
            f"{f'a tensor of shape {tuple(batch.shape)}' if isinstance(batch, Tensor) else reprlib.repr(batch)}."
        )
    *inputs, labels = batch
    for part in batch:
        if isinstance(part, list | str | float):
            raise DataError(f"expected tensors as inputs and labels of each batch, got {type(part).__name__}.")
    return (inputs[0] if len(inputs) == 1 else tuple(inputs)), labels


def label_key(batch: Mapping[Any, Any]) -> str | None:
    """Return the key of a mapping's labels, None if it has none."""
    return next((key for key in LABEL_KEYS if key in batch), None)


def unlabelled(batch: Batch) -> Any:
    """Return the inputs of a batch with or without labels; two tensors are inputs and labels."""
    if isinstance(batch, Mapping):
        key = label_key(batch)
        return {name: values for name, values in batch.items() if name != key}
    if not isinstance(batch, tuple | list) or len(batch) < 2:
        return batch
    *inputs, _ = batch
    return inputs[0] if len(inputs) == 1 else tuple(inputs)


def label_parts(batch: Batch) -> list[Tensor]:
    """Return the tensors of a batch's labels; none if it has no labels."""
    if isinstance(batch, Mapping):
        return tensors_in(batch.get(label_key(batch)))
    return tensors_in(batch[-1]) if isinstance(batch, tuple | list) and len(batch) > 1 else []


def map_tensors(values: Any, function: Callable[[Tensor], Any]) -> Any:
    """Return nested mappings, tuples and lists with `function` applied to their tensors; other values as they are."""
    if isinstance(values, Tensor):
        return function(values)
    if isinstance(values, Mapping):
        return {key: map_tensors(value, function) for key, value in values.items()}
    if isinstance(values, tuple | list):
        mapped = (map_tensors(value, function) for value in values)
        return tuple(mapped) if isinstance(values, tuple) else list(mapped)
    return values


def tensors_in(values: Any) -> list[Tensor]:
    """Return the tensors of nested mappings, tuples and lists, in order."""
    found: list[Tensor] = []
    map_tensors(values, found.append)
    return found


def parts(batch: Batch) -> list[Any]:
    """Return what a tuple, a list or a mapping holds, also inside of nested ones; nothing of other values."""
    if isinstance(batch, Mapping):
        batch = tuple(batch.values())
    if not isinstance(batch, tuple | list):
        return []
    return [part for held in batch for part in (parts(held) if isinstance(held, tuple | Mapping) else [held])]


def select(values: Any, indices: slice | Tensor) -> Any:
    """Return the examples with these indices: rows of every tensor (N, ...) inside."""
    return map_tensors(
        values, lambda x: x if x.ndim == 0 else x[indices if isinstance(indices, slice) else indices.to(x.device)]
    )


def examples_in(values: Any) -> int:
    """Return the number of examples: the rows of the first tensor inside."""
    return next((len(x) for x in tensors_in(values) if x.ndim), 0)
