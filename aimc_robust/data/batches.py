"""Data in the forms that users have them: batches, (inputs, labels), training sets; checked, split, re-iterable."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard, overload

import numpy as np
from torch import Tensor

from aimc_robust.data.lazy import LabelledImages, LazyImages
from aimc_robust.data.passes import RepeatedPasses, as_int64, as_tensor, as_tensors
from aimc_robust.data.training_set import TrainingSet, check_data
from aimc_robust.errors import DataError
from aimc_robust.metrics import Batch, labelled

BATCH_SIZE = 512  # of data that are given as a whole
Batches = Iterable[Batch] | LabelledImages | TrainingSet
"""Labelled data: (inputs, labels) batches, one (inputs, labels) pair of all data, `Images` or `StreamedImages`."""


def as_reiterable(data: Batches) -> Iterable[Batch]:
    """Return (inputs, labels) batches of tensors that can be iterated more than once: an iterator becomes a list.

    Every iteration must give the same images in the same order, so that results of chips, models and numbers of jobs
    can be compared.

    Args:
        data: Labelled data. Training sets give their images without augmentation.

    Raises:
        DataError: if a DataLoader's sampler is random or, in a later iteration, if that gives other images.
    """
    batches = split_whole(data)
    if isinstance(batches, _BatchSplit | RepeatedPasses):
        return batches
    if isinstance(batches, list | tuple | Iterator):
        return [as_tensors(batch) for batch in batches]
    return RepeatedPasses(batches)


def first_inputs(batches: Iterable[Batch]) -> Tensor:
    """Return the first input, as a batch of one; raise DataError if there is none."""
    for batch in batches:
        return labelled(batch)[0][:1]
    raise DataError("expected at least one batch of images and labels, got none.")


def split_whole(data: Any) -> Iterable[Any]:
    """Return data that are given as a whole in batches, and batches as they are; raise DataError for other data."""
    if isinstance(data, TrainingSet):
        data = data.unaugmented()
    data = _as_whole_tensors(data)
    if is_labelled(data):
        return split_batches((data[0], as_int64(data[1])), BATCH_SIZE)
    if isinstance(data, str | Tensor | np.ndarray | Mapping | LazyImages) or not isinstance(data, Iterable):
        raise DataError(
            "expected batches such as a list or a DataLoader, one (inputs, labels) pair, Images or StreamedImages; got "
            f"{type(data).__name__}."
        )
    return data


def input_batches(data: Any) -> list[Tensor]:
    """Return unlabelled batches, from batches of inputs or labelled data; raise DataError for others, or no input."""
    inputs = [batch[0] if isinstance(batch, list | tuple) and len(batch) == 2 else batch for batch in split_whole(data)]
    inputs = [as_tensor(batch) for batch in inputs]
    for batch in inputs:
        if not isinstance(batch, Tensor) or batch.ndim != inputs[0].ndim:
            got = f"a tensor of shape {tuple(batch.shape)}" if isinstance(batch, Tensor) else type(batch).__name__
            raise DataError(
                f"expected batches of inputs (images, ...) or (inputs, labels) pairs, all alike; got {got}."
            )
    if not inputs or any(len(batch) == 0 for batch in inputs):
        raise DataError("expected at least one batch of inputs and one input in each, got none.")
    return inputs


def is_labelled(data: object) -> TypeGuard[LabelledImages]:
    """Return whether `data` are all inputs and their labels, and not two batches."""
    if not isinstance(data, tuple | list) or len(data) != 2:
        return False
    inputs, labels = data
    return (
        isinstance(inputs, Tensor | LazyImages)
        and isinstance(labels, Tensor)
        and not labels.is_floating_point()
        and (labels.ndim < len(inputs.shape) or labels.ndim == 1)
    )


def _as_whole_tensors(data: Any) -> Any:
    """Return a pair of numpy arrays, all inputs and their labels, as tensors; other data as they are."""
    is_pair = isinstance(data, tuple | list) and len(data) == 2 and all(isinstance(part, np.ndarray) for part in data)
    return as_tensors(data) if is_pair else data


def as_labelled(name: str, data: Any) -> LabelledImages:
    """Return all inputs and their labels, of a training set without augmentation; raise DataError for other data."""
    labelled = data.unaugmented() if isinstance(data, TrainingSet) else _as_whole_tensors(data)
    if not is_labelled(labelled):
        is_short = isinstance(data, tuple | list) and 0 < len(data) <= 3
        parts = f" of {', '.join(type(part).__name__ for part in data)}" if is_short else ""
        raise DataError(
            f"{name} must be (inputs, labels) with whole numbers as labels, Images or StreamedImages; got "
            f"{type(data).__name__}{parts}."
        )
    inputs, labels = labelled
    check_data(name, (inputs, labels))
    return inputs, as_int64(labels)


@overload
def split_batches(data: Batch, size: int) -> list[Batch]: ...


@overload
def split_batches(data: LabelledImages, size: int) -> Iterable[Batch]: ...


def split_batches(data: LabelledImages, size: int) -> Iterable[Batch]:
    """Split (inputs, labels) into batches of at most `size` images, in order and without a copy.

    Returns:
        A list for tensors. For `LazyImages`, an iterable that makes the batches in every iteration.
    """
    check_data("data", data)
    return list(_BatchSplit(data, size)) if isinstance(data[0], Tensor) else _BatchSplit(data, size)


@dataclass(frozen=True)
class _BatchSplit:
    """Iterable of batches of at most `size`, made in every iteration."""

    data: LabelledImages
    size: int

    def __iter__(self) -> Iterator[Batch]:
        inputs, labels = self.data
        return zip(inputs.split(self.size), labels.split(self.size), strict=True)
