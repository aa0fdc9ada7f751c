"""Image files as one array of bytes that is read a few batches at a time, by threads."""

from __future__ import annotations

import hashlib
import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from aimc_robust.data.decoding import read_image, resize_and_center_crop
from aimc_robust.errors import DataError
from aimc_robust.parallel.process_pool import available_cpus

if TYPE_CHECKING:
    from PIL.Image import Image

PREFETCH_BATCHES = 3  # batches that are read while one is in use
MAX_BYTES_IN_MEMORY = 2**33  # of the pixels of one split
IMAGES_PER_TASK = 8  # images that a thread reads at a time
Transform = Callable[["Image", int], "Image"]
"""(image, its index) -> the image in its final size."""


@dataclass(frozen=True)
class ImageFiles:
    """(N, 3, H, W) uint8 pixels of N image files.

    Args:
        root: Folder that the paths are in.
        paths: Paths of the files.
        size: Side of the square that is cropped from the center [pixels]; None uses the images unchanged, which must
            then have one size.
        resize: Length that the shorter side is first scaled to [pixels]; None means `size`.
    """

    root: str
    paths: Sequence[str]
    size: int | None = None
    resize: int | None = None

    def __len__(self) -> int:
        return len(self.paths)

    @cached_property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, C, H, W)."""
        if self.size is not None:
            return len(self), 3, self.size, self.size
        width, height = read_image(self.paths[0]).size
        return len(self), 3, height, width

    def select(self, indices: Iterable[int]) -> ImageFiles:
        """Return the files with these indices."""
        return replace(self, paths=[self.paths[i] for i in indices])

    def __getitem__(self, indices: slice | Tensor) -> Tensor:
        """Return the center crops (n, C, H, W) of the images with these indices."""
        return next(self.read_batches([torch.arange(len(self))[indices]]))

    def read_batches(
        self, batches: Iterable[Tensor], transform: Transform | None = None, *, pin_memory: bool = False
    ) -> Iterator[Tensor]:
        """Iterate over the pixels (n, C, H, W) of each batch (n,) of indices, in order, and read a few batches ahead.

        Each image is transformed, or else cropped in the center. From pinned memory a GPU copies while it computes. The
        first image, in order, that cannot be read or has another size raises DataError.
        """
        pending: deque[tuple[Tensor, list[Future[None]]]] = deque()
        pool = ThreadPoolExecutor(len(available_cpus()))
        step = IMAGES_PER_TASK
        try:
            for indices in batches:
                pixels = torch.empty(len(indices), *self.shape[1:], dtype=torch.uint8, pin_memory=pin_memory)
                tasks = [
                    pool.submit(self._read, pixels[i : i + step].numpy(), indices[i : i + step].tolist(), transform)
                    for i in range(0, len(indices), step)
                ]
                pending.append((pixels, tasks))
                if len(pending) > PREFETCH_BATCHES:
                    yield _wait(*pending.popleft())
            while pending:
                yield _wait(*pending.popleft())
        finally:
            pool.shutdown(cancel_futures=True)

    def _read(self, output: np.ndarray, indices: list[int], transform: Transform | None) -> None:
        """Read images into `output` (n, C, H, W)."""
        for target, index in zip(output, indices, strict=True):
            image = read_image(self.paths[index])
            if transform is not None:
                image = transform(image, index)
            elif self.size is not None:
                image = resize_and_center_crop(image, self.size, self.resize)
            pixels = np.asarray(image)
            expected = (*self.shape[2:], 3)
            if pixels.shape != expected:
                raise DataError(
                    f"{self.root} holds images of different sizes ({expected} and {pixels.shape}); set --size N (in a "
                    "spec: size = N) to scale and crop all images."
                )
            target[...] = pixels.transpose(2, 0, 1)

    def fingerprint(self) -> bytes:
        """Return a hash of the file names below the root, the file sizes and the crop; file contents are not read."""
        digest = hashlib.blake2b(repr((self.size, self.resize)).encode(), digest_size=16)
        for path in self.paths:
            try:
                length = os.stat(path).st_size
            except OSError as error:
                raise DataError(f"{path} cannot be read: {error.strerror}; repair or remove it.") from None
            name = os.path.relpath(path, self.root).replace(os.sep, "/")  # the same on all systems
            digest.update(f"{name}\0{length}\0".encode(errors="surrogateescape"))
        return digest.digest()


def _wait(pixels: Tensor, tasks: list[Future[None]]) -> Tensor:
    """Wait for the tasks that fill `pixels`."""
    for task in tasks:
        task.result()
    return pixels


def read_into_memory(split: tuple[ImageFiles, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Read all images of a split as (N, H, W, C) uint8; raise DataError if they take more than MAX_BYTES_IN_MEMORY."""
    files, labels = split
    size = math.prod(files.shape)
    if size > MAX_BYTES_IN_MEMORY:
        raise DataError(
            f"{len(files)} images of {files.root} take {size / 2**30:.0f} GiB in memory; set stream = true (or a "
            "smaller size) to read them during training."
        )
    return np.moveaxis(files[:].numpy(), 1, -1), labels
