"""The random numbers of read noise: fresh at every multiply, the same whatever the batch size."""

from __future__ import annotations

import copy
import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from aimc_robust.seeding import Axes

# torch fills normals in blocks of this many; a draw of whole blocks continues a stream exactly.
BLOCK = 16
WORTH_A_THREAD = 2**16


class ReadNoise:
    """Standard normals for the outputs of arrays, a stream for each array.

    The noise of one output, the sum of x_j times the independent Gaussian noise of its devices, is exactly Gaussian
    with variance sum_j x_j^2 sigma_j^2: one number per output replaces one per device. This is exact for Gaussian
    noise that is added to a state; it does not hold where a noisy state would be clipped (at 0, for states within a
    few sigma of it) or where the current is not proportional to the input (I-V curves).

    On the CPU the numbers of one image do not depend on the batch it is in, for a layer that is called once per
    forward pass with images along dimension 0. On another device they come from that device's generator and do.
    """

    def __init__(self, axes: Axes) -> None:
        self._axes = axes
        self._streams: dict[Any, tuple[torch.Generator, torch.Generator]] = {}
        self._drawn: dict[Any, int] = {}

    def draw(self, like: Tensor, array: tuple[int, int, int], *, outputs_last: bool) -> Tensor:
        """Standard normals of the shape of `like`, the next of this array's stream.

        array: (bank, tile, input slice). outputs_last: whether `like` is (..., outputs), else (images, outputs, ...).
        """
        key = (array, like.device)
        if key not in self._streams:
            axes = self._axes.at(array=".".join(map(str, array)))
            even, odd = (axes.at(images=images).generator(str(like.device)) for images in ("even", "odd"))
            self._streams[key], self._drawn[key] = (even, odd), 0
        count = like.shape[-1] if outputs_last else math.prod(like.shape[1:])
        parts = like.numel() // count if count else 0
        numbers = self._next(key, parts, -(-count // BLOCK) * BLOCK)[:, :count].to(like.dtype)
        if outputs_last:
            return numbers.reshape(like.shape)
        images, outputs, *places = like.shape
        # Places first, as convolutions lay their outputs out here; the order is part of the stream's definition.
        return numbers.reshape(images, *places, outputs).movedim(-1, 1)

    def _next(self, key: Any, parts: int, size: int) -> Tensor:
        """`parts` rows of `size` numbers; rows of even and odd number since the start come from two streams."""
        first = self._drawn[key] % 2
        self._drawn[key] += parts
        device = key[1]

        def rows(stream: int) -> Tensor:
            wanted = len(range((stream - first) % 2, parts, 2))
            return torch.randn((wanted, size), generator=self._streams[key][stream], device=device, dtype=torch.float32)

        if parts * size < WORTH_A_THREAD or device.type != "cpu" or torch.get_num_threads() == 1:
            halves = rows(0), rows(1)
        else:  # drawing is half the cost of read noise, and torch draws on one core
            with ThreadPoolExecutor(1) as other:
                second = other.submit(rows, 1)
                halves = rows(0), second.result()
        numbers = torch.empty((parts, size), device=device)
        for stream, half in enumerate(halves):
            numbers[(stream - first) % 2 :: 2] = half
        return numbers

    def __deepcopy__(self, memo: Any) -> ReadNoise:
        twin = ReadNoise(copy.deepcopy(self._axes, memo))
        twin._drawn = dict(self._drawn)
        for key, streams in self._streams.items():
            twin._streams[key] = tuple(torch.Generator(stream.device) for stream in streams)
            for mine, theirs in zip(twin._streams[key], streams, strict=True):
                mine.set_state(theirs.get_state())
        return twin
