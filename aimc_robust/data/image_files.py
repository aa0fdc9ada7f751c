"""Picture files as one array of bytes that is read a few batches at a time, by threads."""

from __future__ import annotations

import hashlib
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

from aimc_robust.data.decoding import as_bytes, centre_cut, read_picture
from aimc_robust.errors import DataError
from aimc_robust.parallel.cores import available_cpus

if TYPE_CHECKING:
    from PIL.Image import Image

AHEAD = 3  # batches that are read while one is worked on
AT_ONCE = 8  # pictures that a thread takes
Cut = Callable[["Image", int], "Image"]
"""(picture, its number) -> the picture of the final size."""


@dataclass(frozen=True)
class ImageFiles:
    """(N, 3, H, W) bytes in N picture files.

    paths: below the folder `root`. size, resize: each picture's shorter side is scaled to `resize` (default: `size`)
    and a square of side `size` cut out of its middle; None: pictures of one size are taken as they are.
    threads: that read; None: one for each processor of this process. The pixels do not depend on them.
    """

    root: str
    paths: Sequence[str]
    size: int | None = None
    resize: int | None = None
    threads: int | None = None

    def __len__(self) -> int:
        return len(self.paths)

    @cached_property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, C, H, W)."""
        if self.size is not None:
            return len(self), 3, self.size, self.size
        width, height = read_picture(self.paths[0]).size
        return len(self), 3, height, width

    def of(self, chosen: Iterable[int]) -> ImageFiles:
        """Those with these numbers."""
        return replace(self, paths=[self.paths[i] for i in chosen])

    def __getitem__(self, chosen: slice | Tensor) -> Tensor:
        """The bytes (n, C, H, W) of some, in their middle cut."""
        return next(self.batches([torch.arange(len(self))[chosen]]))

    def batches(self, chosen: Iterable[Tensor], cut: Cut | None = None, *, pinned: bool = False) -> Iterator[Tensor]:
        """Bytes (n, C, H, W) for each tensor of numbers (n,), in order; no more than AHEAD of them wait in memory.

        cut: what is made of each picture; None: its middle. pinned: in memory that a GPU copies from while it computes.
        Raises DataError for the first picture in order that cannot be read or has another size.
        """
        waiting: deque[tuple[Tensor, list[Future[None]]]] = deque()
        pool = ThreadPoolExecutor(self.threads or len(available_cpus()))
        try:
            for numbers in chosen:
                made = torch.empty(len(numbers), *self.shape[1:], dtype=torch.uint8, pin_memory=pinned)
                starts = range(0, len(numbers), AT_ONCE)
                tasks = [
                    pool.submit(self._fill, made[i : i + AT_ONCE].numpy(), numbers[i : i + AT_ONCE].tolist(), cut)
                    for i in starts
                ]
                waiting.append((made, tasks))
                if len(waiting) > AHEAD:
                    yield _done(*waiting.popleft())
            while waiting:
                yield _done(*waiting.popleft())
        finally:
            pool.shutdown(cancel_futures=True)

    def _fill(self, made: np.ndarray, numbers: list[int], cut: Cut | None) -> None:
        for place, number in zip(made, numbers, strict=True):
            picture = read_picture(self.paths[number])
            if cut is not None:
                picture = cut(picture, number)
            elif self.size is not None:
                picture = centre_cut(picture, self.size, self.resize)
            pixels = as_bytes(picture)
            expected = (*self.shape[2:], 3)
            if pixels.shape != expected:
                raise DataError(
                    f"{self.root} holds images of different sizes ({expected} and {pixels.shape}); give --size N (in a "
                    "spec: size = N), to which each is scaled and cut."
                )
            place[...] = pixels.transpose(2, 0, 1)

    def fingerprint(self) -> bytes:
        """A hash of names below the root, file sizes, and how they are cut: contents of large sets are not read."""
        digest = hashlib.blake2b(repr((self.size, self.resize)).encode(), digest_size=16)
        for path in self.paths:
            try:
                length = os.stat(path).st_size
            except OSError as error:
                raise DataError(f"{path} cannot be read: {error.strerror}; mend or remove it.") from None
            digest.update(f"{os.path.relpath(path, self.root)}\0{length}\0".encode(errors="surrogateescape"))
        return digest.digest()


def _done(made: Tensor, tasks: list[Future[None]]) -> Tensor:
    for task in tasks:
        task.result()
    return made
