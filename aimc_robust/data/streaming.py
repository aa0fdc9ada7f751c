"""Training images that stay in their files: decoded by threads while the model computes."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from aimc_robust.data.augmentation import Augmentation, StreamedAugmentation
from aimc_robust.data.decoding import random_crop_box, resize_and_center_crop, resized_crop
from aimc_robust.data.image_files import ImageFiles
from aimc_robust.data.lazy import LabelledImages, LazyImages, normalize_bytes
from aimc_robust.data.training_set import TrainingSet
from aimc_robust.errors import InputError, require_type
from aimc_robust.seeding import Axes
from aimc_robust.tasks.batches import Batch

if TYPE_CHECKING:
    from PIL.Image import Image


class StreamedImages(TrainingSet):
    """A training set whose pixels stay in files; see `TrainingSet`. A few batches are read ahead.

    `train` takes it in place of `Images`, so that data sets larger than memory, such as ImageNet, need no separate
    training loop.

    Args:
        files: RGB images with a `size`, scaled and cropped to (3, size, size).
        labels: (N,) integers.
        mean: Mean of each channel, for pixel values in 0 to 1.
        std: Standard deviation of each channel, for pixel values in 0 to 1.
        augmentation: Augmentation of each image each time it is read.
    """

    augmentation: StreamedAugmentation

    def __init__(
        self,
        files: ImageFiles,
        labels: Tensor,
        *,
        mean: Sequence[float] | Tensor,
        std: Sequence[float] | Tensor,
        augmentation: StreamedAugmentation | None = None,
    ) -> None:
        require_type("files", files, ImageFiles, example="an ImageFiles")
        super().__init__(files, labels)
        if files.size is None:
            raise InputError("images from files need a size that each is scaled and cropped to; set `size`.")
        self.files, self.size, self.shape = files, files.size, files.shape[1:]
        self.augmentation = StreamedAugmentation() if augmentation is None else augmentation
        require_type("augmentation", self.augmentation, StreamedAugmentation, example="a StreamedAugmentation")
        self.lazy = LazyImages(files, mean=mean, std=std).to(labels.device)

    def to(self, device: torch.device | str) -> Self:
        """Return this set with its batches on a device."""
        moved = copy.copy(self)
        moved.lazy, moved.labels = self.lazy.to(device), self.labels.to(device)
        return moved

    def unaugmented(self) -> LabelledImages:
        """Return all images without augmentation, which are read when they are indexed, and their labels."""
        return self.lazy, self.labels

    def _batches(self, indices: Tensor, epoch: int, seed: int, stream: int) -> Iterator[Batch]:
        axes = Axes(seed).at(use="augmentation", epoch=epoch, stream=stream)
        # Drawn as by `Images`, so that both sets flip the same images.
        flips = Augmentation(flip=self.augmentation.flip).sample(axes, len(self), 0, 0).flip
        area, ratio = self.augmentation.area, self.augmentation.ratio

        def transform(image: Image, index: int) -> Image:
            if not area:
                return resize_and_center_crop(image, self.size, self.files.resize)
            generator = axes.at(draw="resized crop", image=index).generator()
            return resized_crop(image, random_crop_box(*image.size, area, ratio, generator), self.size)

        decoded = self.files.read_batches(indices, transform, pin_memory=self.device.type == "cuda")
        for batch, pixels in zip(indices, decoded, strict=True):
            pixels = pixels.to(self.device, non_blocking=True)
            if flips is not None:
                flip = flips[batch].to(self.device)
                pixels = torch.where(flip[:, None, None, None], pixels.flip(3), pixels)
            yield normalize_bytes(pixels, self.lazy.mean, self.lazy.std), self.labels[batch.to(self.device)]
