"""What training sets in memory and in files share: labels, and the order of the images in an epoch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sized
from typing import Self

import torch
from torch import Tensor

from aimc_robust.data.augmentation import Augmentation, StreamedAugmentation
from aimc_robust.data.lazy import LabelledImages
from aimc_robust.errors import DataError, InputError, require_whole
from aimc_robust.seeding import Axes
from aimc_robust.tasks.batches import Batch, tensors_in


class TrainingSet(ABC):
    """A training set that yields shuffled, augmented batches: `Images` or `StreamedImages`.

    Order and augmentation derive from (seed, epoch, stream, image) only: they do not depend on the batch size, the
    number of processes or threads, or the device.
    """

    augmentation: Augmentation | StreamedAugmentation
    shape: tuple[int, ...]  # of one input, (C, H, W) for images

    def __init__(self, inputs: Sized, labels: Tensor) -> None:
        if not isinstance(labels, Tensor) or labels.ndim == 0 or labels.is_floating_point() or labels.is_complex():
            got = f"{labels.dtype} {tuple(labels.shape)}" if isinstance(labels, Tensor) else type(labels).__name__
            raise DataError(f"labels must be a tensor of whole numbers (N,), got {got}; pass class numbers as int64.")
        check_data("training images", (inputs, labels))
        self.labels = labels.long()

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def device(self) -> torch.device:
        """Device of the batches."""
        return self.labels.device

    @abstractmethod
    def to(self, device: torch.device | str) -> Self:
        """Return this set with its batches on a device; tensors that are already there are shared."""

    @abstractmethod
    def unaugmented(self) -> LabelledImages:
        """Return all images without augmentation, and their labels. Do not write to them: they may be views."""

    def epoch(
        self, epoch: int, *, batch_size: int, seed: int = 0, stream: int = 0, shard: int = 0, num_shards: int = 1
    ) -> Iterator[Batch]:
        """Iterate over the (inputs, labels) batches of one pass over all images.

        A last partial batch is dropped unless it is the only one.

        Args:
            epoch: Number of the epoch, from 1.
            batch_size: Images per batch, over all shards.
            seed: Root seed of order and augmentation.
            stream: Another order and augmentation of the same epoch, for a method's second batch.
            shard: Part of each batch to return, from 0.
            num_shards: Number of equal parts of each batch, one for each process.

        Raises:
            InputError: If a batch cannot be split evenly into shards.
        """
        for name, value in (("epoch", epoch), ("seed", seed), ("stream", stream)):
            require_whole(name, value, low=0)
        require_whole("batch_size", batch_size, low=1)
        require_whole("num_shards", num_shards, low=1)
        require_whole("shard", shard, low=0, high=num_shards - 1)
        images = len(self)
        size = min(batch_size, images)
        shard_size, remainder = divmod(size, num_shards)
        if remainder:
            raise InputError(
                f"batches of {size} images cannot be split evenly over {num_shards} processes; change the batch size."
            )
        axes = Axes(seed).at(epoch=epoch, stream=stream)
        order = torch.randperm(images, generator=axes.at(use="shuffle").generator())
        batches = order[: images // size * size].view(-1, size)
        return self._batches(batches[:, shard * shard_size :][:, :shard_size], epoch, seed, stream)

    @abstractmethod
    def _batches(self, indices: Tensor, epoch: int, seed: int, stream: int) -> Iterator[Batch]:
        """Iterate over the augmented batches of the images with these indices (batches, images)."""


def check_data(name: str, data: tuple[Sized, Sized]) -> None:
    """Raise DataError unless `data`, an (inputs, labels) pair, has at least one input and one label for each."""
    inputs, labels = data
    is_nested = isinstance(inputs, Mapping | tuple)
    for count in {len(x) for x in tensors_in(inputs) if x.ndim} if is_nested else {len(inputs)}:
        if count != len(labels) or count == 0:
            raise DataError(f"{name} needs a label for each image and at least one, got {count} and {len(labels)}.")
