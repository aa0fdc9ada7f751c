"""Images that are made ready for a model when they are asked for; they stand where a `Batch` has its tensor."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from aimc_robust.data.image_files import ImageFiles


def normalised_bytes(pixels: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """((pixels / 255) - mean) / std as float32; pixels (N, C, ...) bytes, mean and std (C, 1, 1) of shares of 255."""
    return pixels.float().div_(255.0).sub_(mean).div_(std)


class LazyImages:
    """(N, C, H, W) float32 images, kept as bytes in memory or in files, and normalised a few at a time.

    Has what a tensor of images needs in a `Batch`: `len`, `shape`, `[slice or indices]`, `split`, `to`.
    """

    def __init__(
        self, pixels: Tensor | ImageFiles, *, mean: Sequence[float] | Tensor, std: Sequence[float] | Tensor
    ) -> None:
        """pixels: bytes (N, C, H, W). mean, std: of each channel, of pixels in 0 to 1."""
        self.pixels = pixels
        self.mean, self.std = (torch.as_tensor(values, dtype=torch.float32).view(-1, 1, 1) for values in (mean, std))

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, C, H, W)."""
        return tuple(self.pixels.shape)

    @property
    def device(self) -> torch.device:
        """Where images are when they are asked for."""
        return self.mean.device

    def to(self, device: torch.device | str) -> LazyImages:
        """The same on a device: bytes in memory move there now, those in files when they are read."""
        moved = copy.copy(self)
        moved.mean, moved.std = self.mean.to(device), self.std.to(device)
        if isinstance(self.pixels, Tensor):
            moved.pixels = self.pixels.to(device)
        return moved

    def __getitem__(self, chosen: slice | Tensor) -> Tensor:
        """Some of them (n, C, H, W)."""
        if isinstance(self.pixels, ImageFiles) and isinstance(chosen, Tensor):
            chosen = chosen.cpu()
        return self._ready(self.pixels[chosen])

    def split(self, size: int) -> Iterator[Tensor]:
        """All of them, at most `size` at a time; files are read a few batches ahead."""
        if isinstance(self.pixels, Tensor):
            return (self._ready(pixels) for pixels in self.pixels.split(size))
        pinned = self.device.type == "cuda"
        return (
            self._ready(pixels) for pixels in self.pixels.batches(torch.arange(len(self)).split(size), pinned=pinned)
        )

    def _ready(self, pixels: Tensor) -> Tensor:
        return normalised_bytes(pixels.to(self.device, non_blocking=True), self.mean, self.std)
