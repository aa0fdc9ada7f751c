"""Images that are decoded and normalized when they are read; they take the place of a batch's input tensor."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aimc_robust.data.image_files import ImageFiles
from aimc_robust.errors import InputError, short_repr
from aimc_robust.tasks.batches import map_tensors, select


def normalize_bytes(pixels: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Return ((pixels / 255) - mean) / std as float32, for (N, C, ...) uint8 pixels and (C, 1, 1) mean and std."""
    return pixels.float().div_(255.0).sub_(mean).div_(std)


def per_channel(
    name: str, values: Any, channels: int, dtype: torch.dtype = torch.float32, device: torch.device | None = None
) -> Tensor:
    """Return one number per channel as (C, 1, 1); those of `std` must be above 0."""
    try:
        numbers = torch.as_tensor(values, dtype=dtype, device=device).flatten()
    except (TypeError, ValueError, RuntimeError):  # torch raises these for what are no numbers
        numbers = torch.empty(0)
    if len(numbers) != channels or not numbers.isfinite().all() or (name == "std" and not (numbers > 0).all()):
        raise InputError(
            f"{name} must hold one finite number{' above 0' if name == 'std' else ''} for each of the {channels} "
            f"channels, got {short_repr(values)}."
        )
    return numbers[:, None, None]


class LazyImages:
    """(N, C, H, W) float32 images, stored as bytes in memory or in files, and normalized a few at a time.

    Supports what a `Batch` needs of an image tensor: `len`, `shape`, `[slice or indices]`, `split`, `to`.

    Args:
        pixels: (N, C, H, W) uint8.
        mean: Mean of each channel, for pixel values in 0 to 1.
        std: Standard deviation of each channel, for pixel values in 0 to 1.
    """

    def __init__(
        self,
        pixels: Tensor | ImageFiles,
        *,
        mean: Sequence[float] | np.ndarray | Tensor,
        std: Sequence[float] | np.ndarray | Tensor,
    ) -> None:
        self.pixels, channels = pixels, pixels.shape[1]
        self.mean, self.std = per_channel("mean", mean, channels), per_channel("std", std, channels)

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, C, H, W)."""
        return tuple(self.pixels.shape)

    @property
    def device(self) -> torch.device:
        """Device of the returned images."""
        return self.mean.device

    def to(self, device: torch.device | str) -> LazyImages:
        """Return these images on a device: bytes in memory move now, those in files when they are read."""
        moved = copy.copy(self)
        moved.mean, moved.std = self.mean.to(device), self.std.to(device)
        if isinstance(self.pixels, Tensor):
            moved.pixels = self.pixels.to(device)
        return moved

    def select(self, indices: Tensor) -> LazyImages:
        """Return the images with these indices as they are stored."""
        selected, pixels = copy.copy(self), self.pixels
        selected.pixels = pixels[indices] if isinstance(pixels, Tensor) else pixels.select(indices.numpy())
        return selected

    def __getitem__(self, indices: slice | Tensor) -> Tensor:
        """Return the images (n, C, H, W) with these indices."""
        if isinstance(self.pixels, ImageFiles) and isinstance(indices, Tensor):
            indices = indices.cpu()
        return self._normalize(self.pixels[indices])

    def split(self, size: int) -> Iterator[Tensor]:
        """Iterate over all images, at most `size` at a time; files are read a few batches ahead."""
        if isinstance(self.pixels, Tensor):
            return (self._normalize(pixels) for pixels in self.pixels.split(size))
        batches = self.pixels.read_batches(torch.arange(len(self)).split(size), pin_memory=self.device.type == "cuda")
        return (self._normalize(pixels) for pixels in batches)

    def _normalize(self, pixels: Tensor) -> Tensor:
        return normalize_bytes(pixels.to(self.device, non_blocking=True), self.mean, self.std)


def select_images(images: Any, indices: Tensor) -> Any:
    """Return the images with these indices, as they are stored; or examples of another task, see `Examples`."""
    return images.select(indices) if isinstance(images, LazyImages) else select(images, indices)


def to_device(images: Any, device: torch.device | str) -> Any:
    """Return images, or examples of another task, on a device."""
    return images.to(device) if isinstance(images, LazyImages) else map_tensors(images, lambda x: x.to(device))


LabelledImages = tuple[Any, Tensor]
"""(images (N, C, H, W) as a tensor or `LazyImages`, labels (N,)); or the inputs and labels of another task."""
