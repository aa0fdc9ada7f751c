"""Batches joined into one, and regrouped into minibatches of one size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from aimc_robust.data.batches import split_whole
from aimc_robust.data.passes import as_tensors
from aimc_robust.errors import DataError, require_whole, short_repr
from aimc_robust.tasks.batches import Batch, examples_in, select


class UnlikeError(Exception):
    """Tensors of two batches have different shapes or types."""


def join(parts: Sequence[Any]) -> Any:
    """Join batches, or the same part of all of them, along dimension 0; other values than tensors must be equal.

    Raises:
        UnlikeError: If they are not alike.
    """
    first = parts[0]
    if isinstance(first, Tensor):
        for part in parts:
            if not isinstance(part, Tensor) or part.ndim == 0 or part.shape[1:] != first.shape[1:]:
                got = f"shape {tuple(part.shape)}" if isinstance(part, Tensor) else type(part).__name__
                raise UnlikeError(f"got shape {tuple(first.shape)} in the first one and {got} in another")
            if part.dtype != first.dtype:
                raise UnlikeError(f"got {first.dtype} in the first one and {part.dtype} in another")
        return torch.cat([part.detach() for part in parts])
    if any(type(part) is not type(first) for part in parts):
        raise UnlikeError(f"got {' and '.join(sorted({type(part).__name__ for part in parts}))}")
    if isinstance(first, Mapping):
        if any(part.keys() != first.keys() for part in parts):
            raise UnlikeError(f"got the keys {', '.join(map(str, first))} in the first one and others in another")
        return {key: join([part[key] for part in parts]) for key in first}
    if isinstance(first, tuple | list):
        if any(len(part) != len(first) for part in parts):
            raise UnlikeError(f"got {len(first)} parts in the first one and another number in another")
        return tuple(join(list(values)) for values in zip(*parts, strict=True))
    if any(part != first for part in parts):
        raise UnlikeError(f"got {short_repr(first)} and {short_repr(next(part for part in parts if part != first))}")
    return first


def minibatches(batches: Iterable[Batch], m: int | None) -> Iterator[Batch]:
    """Yield minibatches of exactly m examples in the order of the data, whatever the size of `batches`.

    Fewer than m examples at the end are left out: their minibatch would be of another size. With None, yield the
    batches as they are.

    Raises:
        DataError: If there are fewer than m examples, or batches are not alike.
        InputError: If m is not a whole number above 0.
    """
    if m is not None:
        require_whole("m", m, low=1)
    held: list[Batch] = []
    missing, examples, yielded = m or 0, 0, False
    for batch in map(as_tensors, split_whole(batches)):
        if m is None:
            yield batch
            continue
        size, start = examples_in(batch), 0
        examples += size
        while size - start >= missing:
            held.append(select(batch, slice(start, start + missing)))
            yield _joined(held)
            held, start, missing, yielded = [], start + missing, m, True
        if start < size:
            held.append(select(batch, slice(start, size)))
            missing -= size - start
    if m is not None and not yielded:
        raise DataError(f"m = {m} examples make a minibatch, and the data have {examples}; use a smaller m.")


def _joined(parts: list[Batch]) -> Batch:
    try:
        return parts[0] if len(parts) == 1 else join(parts)
    except UnlikeError as error:
        raise DataError(
            f"batches must be alike, to be regrouped by m: {error}. Pass batches of m examples, and m = None."
        ) from None
