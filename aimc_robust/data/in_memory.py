"""Training images in memory on one device: no worker processes, each batch made by a few tensor operations."""

import copy
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Self

import torch
from torch import Tensor

from aimc_robust.data.augmentation import Augmentation, AugmentationDraws, apply_cutout_
from aimc_robust.data.lazy import normalize_bytes, per_channel
from aimc_robust.data.training_set import TrainingSet
from aimc_robust.errors import DataError, InputError, require_type
from aimc_robust.seeding import Axes
from aimc_robust.tasks.batches import Batch

# Images that would take more bytes as float32 stay uint8, which is slower on a CPU; the numbers are the same.
MAX_FLOAT_BYTES = 2**30


class Images(TrainingSet):
    """A training set in memory that yields shuffled, augmented batches; see `TrainingSet`.

    Args:
        inputs: (N, C, H, W) images, or inputs of any shape (N, ...) without augmentation. uint8 values 0 to 255 mean 0
            to 1. All data, and the batches, are on the device of the inputs.
        labels: (N, ...) integers.
        mean: Mean of each channel. The images are normalized once, here; large uint8 sets are normalized batch by
            batch. Without mean and std, inputs are used unchanged.
        std: Standard deviation of each channel.
        augmentation: Augmentation of each image each time it is read.
        black: For inputs that are already normalized: value of each channel in the border of a crop (default 0). With
            mean and std it is the normalized 0, as if a black border were normalized with the image.
    """

    augmentation: Augmentation

    def __init__(
        self,
        inputs: Tensor,
        labels: Tensor,
        *,
        mean: Sequence[float] | Tensor | None = None,
        std: Sequence[float] | Tensor | None = None,
        augmentation: Augmentation | None = None,
        black: Sequence[float] | Tensor | None = None,
    ) -> None:
        require_type("inputs", inputs, Tensor, example="a tensor (N, ...)")
        if inputs.ndim == 0 or inputs.layout != torch.strided:
            raise DataError(f"inputs must be a dense tensor (N, ...), got {tuple(inputs.shape)}, {inputs.layout}.")
        super().__init__(inputs, labels)
        if (mean is None) != (std is None):
            raise InputError(f"normalization needs both mean and std, got only {'std' if mean is None else 'mean'}.")
        if mean is not None and black is not None:
            raise InputError("mean and std determine the border's black value; remove `black`.")
        self.augmentation = Augmentation() if augmentation is None else augmentation
        require_type("augmentation", self.augmentation, Augmentation, example="an Augmentation for images in memory")
        self.labels = self.labels.to(inputs.device)
        self.shape = tuple(inputs.shape[1:])
        if inputs.dtype == torch.uint8 and (black is not None or 4 * inputs.numel() <= MAX_FLOAT_BYTES):
            inputs = inputs.float().div_(255.0)
        self.mean_std: tuple[Tensor, Tensor] | None = None  # of images stored as uint8, which each batch normalizes
        fill: Tensor | None = None
        if mean is not None or black is not None or self.augmentation != Augmentation():
            if inputs.ndim != 4 or not (inputs.is_floating_point() or inputs.dtype == torch.uint8):
                raise DataError(
                    "normalization and augmentation need images (N, C, H, W) of uint8 or floating-point numbers, "
                    f"got {str(inputs.dtype).removeprefix('torch.')} {tuple(inputs.shape)}."
                )
            self.augmentation.check_size(*self.shape[1:])
            dtype = inputs.dtype if inputs.is_floating_point() else torch.float32
            numbers = partial(per_channel, channels=inputs.shape[1], dtype=dtype, device=inputs.device)
            if black is not None:
                fill = numbers("black", black)
            elif mean is not None:
                center, spread = numbers("mean", mean), numbers("std", std)
                if inputs.dtype == torch.uint8:
                    self.mean_std = center, spread
                else:
                    inputs, fill = (inputs - center).div_(spread), -center / spread
        self.stored = _add_border(inputs, self.augmentation.crop, fill)

    def to(self, device: torch.device | str) -> Self:
        """Return this set on a device; tensors that are already there are shared."""
        moved = copy.copy(self)
        moved.stored, moved.labels = self.stored.to(device), self.labels.to(device)
        if self.mean_std is not None:
            mean, std = self.mean_std
            moved.mean_std = mean.to(device), std.to(device)
        return moved

    def _batches(self, indices: Tensor, epoch: int, seed: int, stream: int) -> Iterator[Batch]:
        draws = self.sample_augmentation(epoch, seed=seed, stream=stream)
        return ((self.augment(batch, draws), self.labels[batch]) for batch in indices.to(self.device))

    def sample_augmentation(self, epoch: int, *, seed: int = 0, stream: int = 0) -> AugmentationDraws:
        """Draw the random augmentation parameters of all images in an epoch."""
        axes = Axes(seed).at(use="augmentation", epoch=epoch, stream=stream)
        height, width = self.shape[1:] if len(self.shape) == 3 else (0, 0)  # nothing is drawn for other inputs
        return self.augmentation.sample(axes, len(self), height, width).map(lambda draw: draw.to(self.device))

    def augment(self, indices: Tensor, draws: AugmentationDraws) -> Tensor:
        """Return the augmented images with these indices (B,), as a new tensor (B, C, H, W)."""
        draws = draws.map(lambda draw: draw[indices])
        if draws.top is None:
            images = self.stored[indices]
        else:
            # A view of every crop of every image; indexing it copies only the selected ones.
            crops = self.stored.unfold(2, self.shape[1], 1).unfold(3, self.shape[2], 1)
            images = crops[indices, :, draws.top, draws.left]
        if draws.flip is not None:
            images = torch.where(draws.flip[:, None, None, None], images.flip(3), images)
        images = self._normalize(images)
        if draws.hole is not None and draws.hole_top is not None and draws.hole_left is not None:
            images = apply_cutout_(images, draws.hole, draws.hole_top, draws.hole_left, self.augmentation.cutout)
        return images

    def unaugmented(self) -> Batch:
        """Return all images without augmentation, and their labels. Do not write to them: they may be views."""
        crop = self.augmentation.crop
        return self._normalize(self.stored[..., crop:-crop, crop:-crop] if crop else self.stored), self.labels

    def _normalize(self, images: Tensor) -> Tensor:
        """Return the images as a model takes them; images stored as floats are already normalized."""
        if images.dtype != torch.uint8:
            return images
        return images.float().div_(255.0) if self.mean_std is None else normalize_bytes(images, *self.mean_std)


def _add_border(inputs: Tensor, crop: int, fill: Tensor | None) -> Tensor:
    """Return the images with a border of `crop` pixels of value `fill` (C, 1, 1) or 0."""
    if crop == 0:
        return inputs
    images, channels, height, width = inputs.shape
    bordered = inputs.new_zeros(images, channels, height + 2 * crop, width + 2 * crop)
    if fill is not None:
        bordered += fill
    bordered[..., crop:-crop, crop:-crop] = inputs
    return bordered
