"""The random numbers of read noise: fresh at every multiply, the same whatever the batch size."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aimc_robust.seeding import Axes

SMALLEST = torch.tensor(2.0**-24)  # what keeps the logarithm finite: normals reach 5.8, as torch's own do


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
        self._streams: dict[Any, np.random.SFC64 | torch.Generator] = {}

    def draw(self, like: Tensor, array: tuple[int, int, int], *, outputs_last: bool) -> Tensor:
        """Standard normals of the shape of `like`, the next of this array's stream.

        array: (bank, tile, input slice). outputs_last: whether `like` is (..., outputs), else (images, outputs, ...).
        """
        key = (array, like.device)
        if key not in self._streams:
            axes = self._axes.at(array=".".join(map(str, array)))
            on_cpu = like.device.type == "cpu"
            self._streams[key] = np.random.SFC64(axes.seed()) if on_cpu else axes.generator(str(like.device))
        count = like.shape[-1] if outputs_last else math.prod(like.shape[1:])
        parts = like.numel() // count if count else 0
        numbers = standard_normals(self._streams[key], parts, count).to(like.dtype)
        if outputs_last:
            return numbers.reshape(like.shape)
        images, outputs, *places = like.shape
        # Places first, as convolutions lay their outputs out here; the order is part of the stream's definition.
        return numbers.reshape(images, *places, outputs).movedim(-1, 1)


def standard_normals(stream: np.random.SFC64 | torch.Generator, parts: int, count: int) -> Tensor:
    """(parts, count) float32 normals; on the CPU the same whether the parts are drawn at once or one after another.

    Box and Muller's transform of the stream's bits. torch draws normals on one core; here only the bits are made by
    one, a quarter of the work, which is half of what read noise costs.
    """
    if isinstance(stream, torch.Generator):
        return torch.randn((parts, count), generator=stream, device=stream.device)
    pairs = -(-count // 2)
    bits = torch.from_numpy(stream.random_raw(parts * pairs).view(np.int32)).view(parts, 2, pairs)
    whole = bits.to(torch.float32)
    uniform = torch.add(SMALLEST + 0.5, whole[:, 0], alpha=2.0**-32)  # on [SMALLEST, 1]
    radius = uniform.log_().mul_(-2.0).sqrt_()
    angle = whole[:, 1].mul(2.0 * math.pi * 2.0**-32)
    normals = torch.empty_like(whole)
    torch.mul(radius, angle.cos(), out=normals[:, 0])
    torch.mul(radius, angle.sin_(), out=normals[:, 1])
    return normals.view(parts, 2 * pairs)[:, :count]
