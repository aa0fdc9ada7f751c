"""Labelled training images that stay in their files: decoded by threads while the model computes."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from aimc_robust.data.augmentation import Augmentation
from aimc_robust.data.batches import check_data
from aimc_robust.data.decoding import centre_cut, random_box, resized_crop
from aimc_robust.data.image_files import ImageFiles
from aimc_robust.data.in_memory import shares_of_epoch
from aimc_robust.data.lazy import LazyImages, normalised_bytes
from aimc_robust.errors import DataError, InputError, require_finite
from aimc_robust.metrics import Batch
from aimc_robust.seeding import Axes

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, kw_only=True)
class StreamedAugmentation:
    """What is done to a picture each time it is seen, in this order.

    area: least and greatest share of the picture's area in the part that is cut out and scaled to the size of the set
        (`RandomResizedCrop`; ImageNet recipes take [0.08, 1.0]). Empty: the middle is cut out, as for testing.
    ratio: least and greatest width to height of that part. flip: mirrored left to right with probability 1/2.
    """

    area: tuple[float, ...] = ()
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: bool = False

    def __post_init__(self) -> None:
        for name, highest in (("area", 1.0), ("ratio", 1e3)):
            values = getattr(self, name)
            if not isinstance(values, list | tuple) or len(values) not in ((0, 2) if name == "area" else (2,)):
                raise InputError(f"{name} must be [least, greatest], got {values!r}.")
            for value in values:
                require_finite(name, value, low=1e-3, high=highest)
            if list(values) != sorted(values):
                raise InputError(f"{name} must be [least, greatest], got {values!r}.")
            object.__setattr__(self, name, tuple(values))
        if not isinstance(self.flip, bool):
            raise InputError(f"flip must be true or false, got {self.flip!r}.")


class StreamedImages:
    """A training set with the face of `Images` whose pixels stay in files.

    files: RGB pictures with a `size`, brought to (3, size, size). labels: (N,). mean, std: of each channel, of pixels
    in 0 to 1. augmentation: what each picture goes through each time it is seen.

    Order and augmentation derive from (seed, epoch, stream, image) alone: they do not depend on the batch size, the
    number of threads or processes, or the device. A few batches are read ahead. Raises DataError for labels that do not
    fit and, during an epoch, for a picture that cannot be read; InputError for files without a size.
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
            raise DataError(f"labels must be whole numbers, got {labels.dtype}; give class numbers as int64.")
        if files.size is None:
            raise InputError("images from files need the size that each is scaled and cut to; give a size.")
        self.files, self.labels = files, labels
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
        """Where batches are."""
        return self.lazy.device

    def to(self, device: torch.device | str) -> StreamedImages:
        """The same with batches on a device."""
        moved = copy.copy(self)
        moved.lazy, moved.labels = self.lazy.to(device), self.labels.to(device)
        return moved

    def epoch(
        self, epoch: int, *, batch_size: int, seed: int = 0, stream: int = 0, part: int = 0, parts: int = 1
    ) -> Iterator[Batch]:
        """Iterate over the (inputs, labels) batches of one pass over all images; see `Images.epoch`."""
        shares = shares_of_epoch(
            len(self), epoch, batch_size=batch_size, seed=seed, stream=stream, part=part, parts=parts
        )
        return self._batches(shares, Axes(seed).at(use="augmentation", epoch=epoch, stream=stream))

    def plain(self) -> Batch:
        """All images without augmentation, read when they are asked for, and their labels."""
        return self.lazy, self.labels

    def _batches(self, shares: list[Tensor], axes: Axes) -> Iterator[Batch]:
        # The flips of `Images`, so that both sets agree on them.
        flips = Augmentation(flip=self.augmentation.flip).draws(axes, len(self), 0, 0).flip

        def cut(picture: Image, number: int) -> Image:
            if not self.augmentation.area:
                return centre_cut(picture, self.files.size, self.files.resize)
            generator = axes.at(draw="resized crop", image=number).generator()
            box = random_box(*picture.size, self.augmentation.area, self.augmentation.ratio, generator)
            return resized_crop(picture, box, self.files.size)

        decoded = self.files.batches(shares, cut, pinned=self.device.type == "cuda")
        for chosen, pixels in zip(shares, decoded, strict=True):
            pixels = pixels.to(self.device, non_blocking=True)
            if flips is not None:
                flip = flips[chosen].to(self.device)
                pixels = torch.where(flip[:, None, None, None], pixels.flip(3), pixels)
            yield normalised_bytes(pixels, self.lazy.mean, self.lazy.std), self.labels[chosen.to(self.device)]
