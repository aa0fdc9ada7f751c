"""Data in the forms that users have them: batches, (inputs, labels), training sets; checked, split, re-iterable."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard, overload

import numpy as np
from torch import Tensor

from aimc_robust.data.lazy import LabelledImages, LazyImages
from aimc_robust.data.passes import RepeatedPasses, as_int64, as_tensors
from aimc_robust.data.training_set import TrainingSet, check_data
from aimc_robust.errors import DataError
from aimc_robust.tasks.batches import Batch, examples_in, select, tensors_in, unlabelled
from aimc_robust.tasks.registry import TaskLike, as_task

BATCH_SIZE = 512  # of data that are given as a whole
Batches = Iterable[Batch] | LabelledImages | TrainingSet
"""Labelled data: batches (see `tasks.batches.Batch`), all data as one of them, `Images` or `StreamedImages`."""


class InputBatches(list[Any]):
    """Batches without labels: a tuple holds the arguments of a model, not inputs and labels."""


def as_reiterable(data: Batches, task: TaskLike = None) -> Iterable[Batch]:
    """Return labelled batches of tensors that can be iterated more than once: an iterator becomes a list.

    Every iteration must give the same examples in the same order, so that results of chips, models and numbers of jobs
    can be compared.

    Args:
        data: Labelled data. Training sets give their images without augmentation.
        task: The task that unpacks them; that of a whole model's score gets its batches as they are.

    Raises:
        DataError: if a DataLoader's sampler is random or, in a later iteration, if that gives other images.
    """
    task = as_task(task)
    if task.takes_any_batches and isinstance(data, Iterable) and not isinstance(data, str | Tensor | TrainingSet):
        if isinstance(data, Mapping) or _is_pair(data):
            return [data]
        return list(data) if isinstance(data, list | tuple | Iterator) else RepeatedPasses(data, as_they_are=True)
    return repeatable(split_whole(data, task))


def repeatable(batches: Iterable[Any]) -> Iterable[Batch]:
    """Return batches, the result of `split_whole`, as tensors that can be iterated more than once."""
    if isinstance(batches, _BatchSplit | RepeatedPasses):
        return batches
    if isinstance(batches, list | tuple | Iterator):
        return [as_tensors(batch) for batch in batches]
    return RepeatedPasses(batches)


def split_whole(data: Any, task: TaskLike = None) -> Iterable[Any]:
    """Return data that are given as a whole in batches, and batches as they are; raise DataError for other data.

    A tuple of tensors is inputs and labels. A list of two tensors is two batches where these need no labels, unless the
    two look like inputs and labels.
    """
    if isinstance(data, TrainingSet):
        data = data.unaugmented()
    data = _as_whole_tensors(data)
    size = BATCH_SIZE if task is None else as_task(task).batch_size
    may_be_batches = isinstance(data, list) and (task is None or not as_task(task).needs_labels)
    if is_labelled(data) or (_is_pair(data) and not may_be_batches):
        return split_batches((data[0], as_int64(data[1])), size)
    if isinstance(data, tuple) and len(data) > 2 and all(isinstance(part, Tensor) for part in data):
        return split_batches((tuple(data[:-1]), as_int64(data[-1])), size)
    if isinstance(data, Tensor) and task is not None and not as_task(task).needs_labels:
        return list(data.split(size))
    if isinstance(data, Mapping) and tensors_in(as_tensors(data)):
        return _split_mapping(as_tensors(data), size)
    if isinstance(data, str | Tensor | np.ndarray | Mapping | LazyImages) or not isinstance(data, Iterable):
        raise DataError(
            "expected batches such as a list or a DataLoader, one (inputs, labels) pair, Images or StreamedImages; got "
            f"{type(data).__name__}."
        )
    return data


def input_batches(data: Any, task: TaskLike = None) -> InputBatches:
    """Return unlabelled batches, from batches of inputs or labelled data; raise DataError for others, or no input."""
    if isinstance(data, InputBatches) and data:
        return data
    batches = map(as_tensors, split_whole(data))
    inputs = InputBatches(unlabelled(batch) if task is None else as_task(task).unpack(batch)[0] for batch in batches)
    for batch in inputs:
        is_alike = [x.ndim for x in tensors_in(batch)[:1]] == [x.ndim for x in tensors_in(inputs[0])[:1]]
        if not tensors_in(batch) or not is_alike:
            got = f"a tensor of shape {tuple(batch.shape)}" if isinstance(batch, Tensor) else type(batch).__name__
            raise DataError(
                f"expected batches of inputs (images, ...) or (inputs, labels) pairs, all alike; got {got}."
            )
    if not inputs or any(examples_in(batch) == 0 for batch in inputs):
        raise DataError("expected at least one batch of inputs and one input in each, got none.")
    return inputs


def is_labelled(data: object) -> TypeGuard[LabelledImages]:
    """Return whether `data` are all inputs and their labels, and not two batches."""
    if not _is_pair(data) or data[1].is_floating_point():
        return False
    inputs, labels = data
    inputs_ndim = len(inputs.shape) if isinstance(inputs, Tensor | LazyImages) else labels.ndim + 1
    return labels.ndim < inputs_ndim or labels.ndim == 1


def _is_pair(data: object) -> TypeGuard[tuple[Any, Tensor]]:
    """Whether `data` are two things: inputs, which may be several tensors, and a tensor that may be their labels."""
    if not isinstance(data, tuple | list) or len(data) != 2 or not isinstance(data[1], Tensor) or data[1].ndim == 0:
        return False
    inputs = data[0]
    if isinstance(inputs, Tensor | LazyImages):
        return len(inputs.shape) > 0
    return isinstance(inputs, Mapping | tuple) and len(tensors_in(inputs)) == len(inputs) > 0


def _as_whole_tensors(data: Any) -> Any:
    """Return a pair of numpy arrays, all inputs and their labels, as tensors; other data as they are."""
    is_pair = isinstance(data, tuple | list) and len(data) == 2 and all(isinstance(part, np.ndarray) for part in data)
    return as_tensors(data) if is_pair else data


def as_labelled(name: str, data: Any, task: TaskLike = None) -> LabelledImages:
    """Return all inputs and their labels, of a training set without augmentation; raise DataError for other data."""
    labelled = data.unaugmented() if isinstance(data, TrainingSet) else _as_whole_tensors(data)
    is_triple = isinstance(labelled, tuple) and len(labelled) > 2 and all(isinstance(x, Tensor) for x in labelled)
    is_unlabelled = isinstance(labelled, Tensor) and not as_task(task).needs_labels
    if isinstance(labelled, Mapping) or is_triple or is_unlabelled:
        labelled = as_task(task).unpack(as_tensors(labelled))
    if not (is_labelled(labelled) or (task is not None and _is_pair(labelled))):
        is_short = isinstance(data, tuple | list) and 0 < len(data) <= 3
        parts = f" of {', '.join(type(part).__name__ for part in data)}" if is_short else ""
        raise DataError(
            f"{name} must be all inputs and labels: (inputs, labels), a mapping, Images or StreamedImages; got "
            f"{type(data).__name__}{parts}. Join the batches of a list or a DataLoader."
        )
    inputs, labels = labelled
    check_data(name, (inputs, labels))
    return inputs, as_int64(labels)


@overload
def split_batches(data: tuple[Tensor, Tensor], size: int) -> list[Batch]: ...


@overload
def split_batches(data: LabelledImages, size: int) -> Iterable[Batch]: ...


def split_batches(data: LabelledImages, size: int) -> Iterable[Batch]:
    """Split (inputs, labels) into batches of at most `size` images, in order and without a copy.

    Returns:
        A list for tensors. For `LazyImages`, an iterable that makes the batches in every iteration.
    """
    check_data("data", data)
    return _BatchSplit(data, size) if isinstance(data[0], LazyImages) else list(_BatchSplit(data, size))


@dataclass(frozen=True)
class _BatchSplit:
    """Iterable of batches of at most `size`, made in every iteration."""

    data: LabelledImages
    size: int

    def __iter__(self) -> Iterator[Batch]:
        inputs, labels = self.data
        parts = inputs.split(self.size) if isinstance(inputs, LazyImages) else _parts(inputs, len(labels), self.size)
        return zip(parts, labels.split(self.size), strict=True)


def _parts(values: Any, examples: int, size: int) -> Iterator[Any]:
    return (select(values, slice(start, start + size)) for start in range(0, examples, size))


def _split_mapping(data: Mapping[str, Any], size: int) -> list[Batch]:
    """Split a mapping of tensors (N, ...), one batch of all data, into batches."""
    examples = examples_in(data)
    counts = {name: len(x) for name, x in data.items() if isinstance(x, Tensor) and x.ndim}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise DataError(f"expected as many examples under each key of the data, got {listed}.")
    return list(_parts(data, examples, size))
