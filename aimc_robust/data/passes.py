"""Passes over batches that must give the same examples in the same order each time, in any process."""

from __future__ import annotations

import copy
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler, RandomSampler, SubsetRandomSampler, WeightedRandomSampler

from aimc_robust.errors import DataError
from aimc_robust.seeding import global_seed
from aimc_robust.tasks.batches import label_key, label_parts, tensors_in

RANDOM_SAMPLERS = (RandomSampler, SubsetRandomSampler, WeightedRandomSampler)
MAX_NESTING = 8  # of a DataLoader's batch sampler, its sampler, and those that it wraps


class RepeatedPasses(Iterable[Any]):
    """Batches of an iterable, as tensors; DataError where a pass differs from the first one.

    Labels, whole numbers and the first input of every batch are compared, also between the processes of `jobs`. The
    workers of a DataLoader start anew with each pass, with the same seeds: a fork would share those that are kept
    (`persistent_workers`), and the global generator stays as it is.
    """

    def __init__(self, batches: Iterable[Any], *, as_they_are: bool = False) -> None:
        check_order(batches)
        self._batches, self._as_they_are = batches, as_they_are
        self._first_digest = torch.full((1,), -1, dtype=torch.int64).share_memory_()

    def __iter__(self) -> Iterator[Any]:
        digest = 0
        for batch in _start(self._batches):
            converted = batch if self._as_they_are else as_tensors(batch)
            yield converted
            labels = label_parts(converted)
            for part in tensors_in(converted):
                if part.layout == torch.strided:
                    is_whole = part.ndim < 2 or not part.is_floating_point() or any(part is x for x in labels)
                    digest = zlib.crc32(_bytes(part if is_whole else part[:1]), digest)
        if int(self._first_digest) < 0:
            self._first_digest.fill_(digest)
        elif int(self._first_digest) != digest:
            raise DataError(
                f"expected the same examples in the same order in every iteration, got others from "
                f"{type(self._batches).__name__}; leave out shuffling and random transforms."
            )


def check_order(batches: object) -> None:
    """Raise DataError for a DataLoader whose sampler draws images at random, or splits them over processes."""
    part: object = batches
    for _ in range(MAX_NESTING):
        inner = getattr(part, "batch_sampler", None)
        part = getattr(part, "sampler", None) if inner is None else inner
        if isinstance(part, RANDOM_SAMPLERS):
            raise DataError(
                f"expected the same examples in the same order in every iteration, got a DataLoader that shuffles "
                f"({type(part).__name__}); use shuffle=False and no sampler."
            )
        if isinstance(part, DistributedSampler) and (part.shuffle or part.num_replicas > 1):
            raise DataError(
                f"expected all examples in the same order in every iteration, got a DataLoader with a "
                f"{type(part).__name__}, which shuffles them or gives each process a part; use a plain DataLoader."
            )


def _start(batches: Iterable[Any]) -> Iterator[Any]:
    """Start a pass; that of a DataLoader as if it were the first one."""
    if not isinstance(batches, DataLoader):
        return iter(batches)
    loader: DataLoader[Any] = copy.copy(batches)
    loader.generator = loader._iterator = None
    with global_seed(0):
        return iter(loader)


def as_tensors(batch: Any) -> Any:
    """Return a batch with tensors for arrays and lists of numbers in it, and whole-number labels as int64.

    Mappings become dicts, pairs and longer batches tuples; anything else is returned as it is.
    """
    if isinstance(batch, Mapping):
        key = label_key(batch)
        return {name: as_int64(_nested(x)) if name == key else _nested(x) for name, x in batch.items()}
    if not isinstance(batch, tuple | list) or len(batch) < 2:
        return batch
    *inputs, labels = map(_nested, batch)
    return *inputs, as_int64(labels)


def _nested(values: Any) -> Any:
    """Return arrays and lists of numbers, also inside of mappings and tuples, as tensors."""
    if isinstance(values, Mapping):
        return {key: _nested(value) for key, value in values.items()}
    return tuple(map(_nested, values)) if isinstance(values, tuple) else as_tensor(values)


def as_int64(labels: Any) -> Any:
    """Return a tensor of whole numbers as int64, anything else as it is."""
    is_other = not isinstance(labels, Tensor) or labels.is_floating_point() or labels.is_complex()
    return labels if is_other or labels.dtype == torch.bool else labels.long()


def as_tensor(values: Any) -> Any:
    """Return a numpy array or a list of numbers as a tensor, anything else as it is."""
    is_list = isinstance(values, list) and not (values and isinstance(values[0], Tensor))
    if isinstance(values, np.ndarray) or is_list:
        with suppress(TypeError, ValueError, RuntimeError):  # lists of unequal length, texts
            return torch.from_numpy(np.require(values, requirements=["C", "W"]))
    return values


def _bytes(values: Tensor) -> memoryview:
    """Return the bytes of a tensor, whatever its type."""
    return values.detach().cpu().flatten().contiguous().view(torch.uint8).numpy().data
