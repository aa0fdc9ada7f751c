"""The random numbers of read noise: fresh at every multiply, the same whatever the batch size."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor

from aimc_robust.seeding import Axes

# torch fills normals in blocks of this many; a draw of whole blocks continues a stream exactly.
BLOCK = 16


class ReadNoise:
    """Standard normals for the outputs of arrays, a stream for each array.

    The noise of one output, the sum of x_j times the independent Gaussian noise of its devices, is exactly Gaussian
    with variance sum_j x_j^2 sigma_j^2: one number per output replaces one per device. This is exact for Gaussian
    noise that is added to a state; it does not hold where a noisy state would be clipped (at 0, for states within a
    few sigma of it) or where the current is not proportional to the input (I-V curves).

    On the CPU the numbers of one image (of one row, for a linear layer) do not depend on the batch it is in. On
    another device they come from that device's generator and do.
    """

    def __init__(self, axes: Axes) -> None:
        self._axes = axes
        self._streams: dict[Any, torch.Generator] = {}

    def draw(self, like: Tensor, array: tuple[int, int], *, outputs_last: bool) -> Tensor:
        """Standard normals of the shape of `like`, the next of this array's stream.

        array: (bank, tile). outputs_last: whether `like` is (..., outputs); otherwise (images, outputs, ...).
        """
        key = (array, like.device)
        if key not in self._streams:
            axes = self._axes.at(array=f"{array[0]}.{array[1]}")
            self._streams[key] = axes.generator(str(like.device))
        count = like.shape[-1] if outputs_last else math.prod(like.shape[1:])
        parts = like.numel() // count if count else 0
        padded = -(-count // BLOCK) * BLOCK
        numbers = torch.randn((parts, padded), generator=self._streams[key], device=like.device, dtype=torch.float32)
        numbers = numbers[:, :count].to(like.dtype)
        if outputs_last:
            return numbers.reshape(like.shape)
        images, outputs, *places = like.shape
        # Places first, as convolutions lay their outputs out here; the order is part of the stream's definition.
        return numbers.reshape(images, *places, outputs).movedim(-1, 1)

    def __deepcopy__(self, memo: Any) -> ReadNoise:
        twin = ReadNoise(copy.deepcopy(self._axes, memo))
        for key, stream in self._streams.items():
            twin._streams[key] = torch.Generator(stream.device)
            twin._streams[key].set_state(stream.get_state())
        return twin
