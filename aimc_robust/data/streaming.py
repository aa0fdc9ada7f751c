"""Training images that stay in their files: decoded by threads while the model computes."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from aimc_robust.data.augmentation import Augmentation
from aimc_robust.data.batches import check_data
from aimc_robust.data.decoding import random_crop_box, resize_and_center_crop, resized_crop
from aimc_robust.data.image_files import ImageFiles
from aimc_robust.data.in_memory import epoch_indices
from aimc_robust.data.lazy import LabelledImages, LazyImages, normalize_bytes
from aimc_robust.errors import DataError, InputError, require_finite
from aimc_robust.metrics import Batch
from aimc_robust.seeding import Axes

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, kw_only=True)
class StreamedAugmentation:
    """Augmentation of an image each time it is read from its file, in this order.

    Args:
        area: Smallest and largest fraction of the image's area that is cropped and scaled to the size of the set
            (`RandomResizedCrop`; ImageNet recipes use [0.08, 1.0]). Empty: the center is cropped, as for testing.
        ratio: Smallest and largest ratio of width to height of the crop.
        flip: Mirror left to right with probability 1/2.

    Raises:
        InputError: If an argument is invalid.
    """

    area: tuple[()] | tuple[float, float] = ()
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: bool = False

    def __post_init__(self) -> None:
        for name, highest in (("area", 1.0), ("ratio", 1e3)):
            values = getattr(self, name)
            if not isinstance(values, list | tuple) or len(values) not in ((0, 2) if name == "area" else (2,)):
                raise InputError(f"{name} must be [smallest, largest], got {values!r}.")
            for value in values:
                require_finite(name, value, low=1e-3, high=highest)
            if list(values) != sorted(values):
                raise InputError(f"{name} must be [smallest, largest], got {values!r}.")
            object.__setattr__(self, name, tuple(values))
        if not isinstance(self.flip, bool):
            raise InputError(f"flip must be true or false, got {self.flip!r}.")


class StreamedImages:
    """A training set with the interface of `Images` whose pixels stay in files.

    Order and augmentation derive from (seed, epoch, stream, image) only: they do not depend on the batch size, the
    number of threads or processes, or the device. A few batches are read ahead. `train` takes it in place of `Images`,
    so that data sets larger than memory, such as ImageNet, need no separate training loop.

    Args:
        files: RGB images with a `size`, scaled and cropped to (3, size, size).
        labels: (N,) integers.
        mean: Mean of each channel, for pixel values in 0 to 1.
        std: Standard deviation of each channel, for pixel values in 0 to 1.
        augmentation: Augmentation of each image each time it is read.

    Raises:
        DataError: If labels do not match; during an epoch, if an image cannot be read.
        InputError: If the files have no size.
    """

    def __init__(
        self,
        files: ImageFiles,
        labels: Tensor,
        *,
        mean: Sequence[float] | Tensor,
        std: Sequence[float] | Tensor,
        augmentation: StreamedAugmentation | None = None,
    ) -> None:
        check_data("training images", (files, labels))
        if labels.is_floating_point():
            raise DataError(f"labels must be whole numbers, got {labels.dtype}; pass class numbers as int64.")
        if files.size is None:
            raise InputError("images from files need a size that each is scaled and cropped to; set `size`.")
        self.files, self.labels, self.size = files, labels, files.size
        self.augmentation = augmentation or StreamedAugmentation()
        self.lazy = LazyImages(files, mean=mean, std=std)

    def __len__(self) -> int:
        return len(self.files)

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W) of one image."""
        return self.files.shape[1:]

    @property
    def device(self) -> torch.device:
        """Device of the batches."""
        return self.lazy.device

    def to(self, device: torch.device | str) -> StreamedImages:
        """Return this set with its batches on a device."""
        moved = copy.copy(self)
        moved.lazy, moved.labels = self.lazy.to(device), self.labels.to(device)
        return moved

    def epoch(
        self, epoch: int, *, batch_size: int, seed: int = 0, stream: int = 0, shard: int = 0, num_shards: int = 1
    ) -> Iterator[Batch]:
        """Iterate over the (inputs, labels) batches of one pass over all images; see `Images.epoch`."""
        indices = epoch_indices(
            len(self),
            epoch,
            batch_size=batch_size,
            seed=seed,
            stream=stream,
            shard=shard,
            num_shards=num_shards,
        )
        return self._batches(indices, Axes(seed).at(use="augmentation", epoch=epoch, stream=stream))

    def unaugmented(self) -> LabelledImages:
        """Return all images without augmentation, which are read when they are indexed, and their labels."""
        return self.lazy, self.labels

    def _batches(self, batches: list[Tensor], axes: Axes) -> Iterator[Batch]:
        # Drawn as by `Images`, so that both sets flip the same images.
        flips = Augmentation(flip=self.augmentation.flip).sample(axes, len(self), 0, 0).flip
        area, ratio = self.augmentation.area, self.augmentation.ratio

        def transform(image: Image, index: int) -> Image:
            if not area:
                return resize_and_center_crop(image, self.size, self.files.resize)
            generator = axes.at(draw="resized crop", image=index).generator()
            return resized_crop(image, random_crop_box(*image.size, area, ratio, generator), self.size)

        decoded = self.files.read_batches(batches, transform, pin_memory=self.device.type == "cuda")
        for indices, pixels in zip(batches, decoded, strict=True):
            pixels = pixels.to(self.device, non_blocking=True)
            if flips is not None:
                flip = flips[indices].to(self.device)
                pixels = torch.where(flip[:, None, None, None], pixels.flip(3), pixels)
            yield normalize_bytes(pixels, self.lazy.mean, self.lazy.std), self.labels[indices.to(self.device)]
