"""Training examples of any kind in memory: several inputs by name or position, labels of any shape and type."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, Self

import torch
from torch import Tensor

from aimc_robust.data.augmentation import Augmentation
from aimc_robust.data.batches import as_labelled
from aimc_robust.data.in_memory import Images
from aimc_robust.data.lazy import LazyImages
from aimc_robust.data.training_set import TrainingSet, check_data
from aimc_robust.errors import DataError
from aimc_robust.tasks.batches import Batch, map_tensors, select, tensors_in
from aimc_robust.tasks.classification import Classification
from aimc_robust.tasks.task import Task


class Examples(TrainingSet):
    """A training set in memory of a task other than image classification; see `TrainingSet`.

    Args:
        inputs: A tensor (N, ...), a tuple of arguments, or a mapping of keyword arguments of the model.
        labels: (N, ...).
    """

    def __init__(self, inputs: Any, labels: Tensor) -> None:
        if not tensors_in(inputs) or not isinstance(labels, Tensor) or labels.ndim == 0:
            raise DataError(
                f"expected tensors (N, ...) as inputs and labels, got {type(inputs).__name__} and "
                f"{type(labels).__name__}."
            )
        check_data("training data", (inputs, labels))
        self.inputs, self.labels, self.augmentation = inputs, labels, Augmentation()
        self.shape = tuple(tensors_in(inputs)[0].shape[1:])

    def to(self, device: torch.device | str) -> Self:
        """Return this set on a device; tensors that are already there are shared."""
        moved = copy.copy(self)
        moved.inputs = map_tensors(self.inputs, lambda x: x.to(device))
        moved.labels = self.labels.to(device)
        return moved

    def unaugmented(self) -> tuple[Any, Tensor]:
        """Return all inputs and labels."""
        return self.inputs, self.labels

    def _batches(self, indices: Tensor, epoch: int, seed: int, stream: int) -> Iterator[Batch]:
        return ((select(self.inputs, batch), self.labels[batch]) for batch in indices.to(self.device))


def as_training_set(training_set: Any, task: Task) -> TrainingSet:
    """Return training data that are given as a whole as a training set; raise DataError for others."""
    if isinstance(training_set, TrainingSet):
        return training_set
    inputs, labels = as_labelled("training_set", training_set, task)
    if isinstance(inputs, LazyImages):
        raise DataError("training_set must hold a tensor of inputs, got LazyImages; pass StreamedImages or a tensor.")
    is_image_set = isinstance(task, Classification) and isinstance(inputs, Tensor)
    return Images(inputs, labels) if is_image_set else Examples(inputs, labels)
