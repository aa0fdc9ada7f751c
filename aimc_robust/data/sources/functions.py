"""Data of the user's own: a function `package.module:name` that returns or yields the batches of a split."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from aimc_robust.data.joining import UnlikeError, join
from aimc_robust.data.lazy import LabelledImages
from aimc_robust.data.passes import as_tensors
from aimc_robust.errors import DataError
from aimc_robust.io.user_code import call, construct, import_callable
from aimc_robust.seeding import Axes, global_seed
from aimc_robust.tasks.batches import examples_in, map_tensors, tensors_in
from aimc_robust.tasks.task import Task


def function_batches(reference: str, split: str, options: Mapping[str, Any], seed: int) -> list[Any] | None:
    """Return the batches that `function(split, **options)` returns or yields; None if it returns None.

    A class is built with the options, and called with the split. The global generator is seeded inside the call, from
    `seed` and the split, and restored.

    Raises:
        DataError: if it returns something else.
        InputError: if it cannot be imported, or raises.
    """
    what = f"data {reference}"
    function: Any = import_callable(reference, what="data")
    if isinstance(function, type):
        function, options = construct(reference, object, what="data", options=options), {}

    def collect() -> list[Any] | None:
        found = function(split, **options)
        if found is None:
            return None
        kinds = (Mapping, Tensor, np.ndarray)
        is_tuple = isinstance(found, tuple) and len(found) > 1 and all(isinstance(part, kinds) for part in found)
        return [found] if is_tuple or isinstance(found, kinds) else list(found)

    with global_seed(Axes(seed).at(use="data", split=split).seed()):
        batches: list[Any] | None = call(collect, what=f"{what} for {split!r}")
    if batches is not None and not batches:
        raise DataError(f"{what}: expected batches for {split!r}, got none; return None for a split that there is not.")
    return batches


def join_batches(batches: Iterable[Any], task: Task, what: str) -> LabelledImages:
    """Return (inputs, labels) of all batches, joined in memory.

    Raises:
        DataError: if batches are not alike, or their tensors differ in shape; `what` names the data.
    """
    try:
        inputs, labels = join([map_tensors(task.unpack(as_tensors(batch)), _on_cpu) for batch in batches])
    except DataError as error:
        raise DataError(f"{what}: {error}") from None
    except UnlikeError as error:
        raise DataError(
            f"{what}: batches must be alike, to be joined: {error}. Pad inputs of unequal length to a common one."
        ) from None
    counts = {len(tensor) for tensor in tensors_in((inputs, labels))}
    if not isinstance(labels, Tensor) or len(counts) != 1 or examples_in(labels) == 0:
        found = f"{sorted(counts)} examples" if isinstance(labels, Tensor) else f"labels of {type(labels).__name__}"
        raise DataError(f"{what}: expected tensors of inputs and labels with one row for each example, got {found}.")
    return inputs, labels


def _on_cpu(values: Tensor) -> Tensor:
    return values.detach().cpu()
