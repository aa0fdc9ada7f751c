"""Random numbers of read noise: drawn anew for every multiplication, independent of the batch size."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from aimc_robust.errors import InputError
from aimc_robust.seeding import Axes

SMALLEST_UNIFORM = torch.tensor(2.0**-24)  # keeps the logarithm finite: normals reach 5.8, as in torch


def reject_tracing(layer: str) -> None:
    """Raise InputError if torch records the forward pass (trace, export): read noise would become a constant in it."""
    is_traced = torch.jit.is_tracing()  # type: ignore[attr-defined]
    if is_traced or torch.compiler.is_exporting() or get_proxy_mode() is not None:
        raise InputError(
            f"the layer {layer!r} draws read noise, or computes in CrossSim, at every multiply; a traced or exported "
            "model would repeat one result as a constant. Export the model programmed with read_noise=False, without "
            "noise of DACs and outputs, on the native backend, or run it as it is."
        )


class ReadNoise:
    """Source of standard normal numbers for the outputs of arrays, with one stream per array.

    The noise of one output, the sum of x_j times the independent Gaussian noise of its devices, is exactly Gaussian
    with variance sum_j x_j^2 sigma_j^2: one number per output replaces one per device. This holds for Gaussian noise
    that is added to a state, not if a noisy state is clipped (at 0, for states within a few sigma of it) or if the
    current is not proportional to the input (I-V curves).

    On the CPU the numbers of one image do not depend on its batch, for a layer that is called once per forward pass
    with images along dimension 0. On other devices they come from the device's generator and do depend on it.
    """

    def __init__(self, axes: Axes) -> None:
        self._axes = axes
        self._streams: dict[Any, np.random.SFC64 | torch.Generator] = {}

    def draw(self, like: Tensor, array: tuple[int | str, ...], *, outputs_last: bool) -> Tensor:
        """Draw the next standard normal numbers of the stream of an array, like a tensor.

        `array`: bank, tile, input slice, and the time step of a recurrent layer; before them, what draws if it is not
        the array's outputs. `outputs_last`: whether `like` has
        shape (..., outputs) instead of (images, outputs, ...).
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
        images, outputs, *positions = like.shape
        # Positions first, as in the memory layout of convolutions here; the order is part of the stream's definition.
        return numbers.reshape(images, *positions, outputs).movedim(-1, 1)


def standard_normals(stream: np.random.SFC64 | torch.Generator, parts: int, count: int) -> Tensor:
    """Draw float32 standard normal numbers (parts, count) by Box and Muller's transform of the stream's bits.

    torch draws normal numbers on one core; here only the random bits are drawn on one, a quarter of that work, which is
    half of the cost of read noise. A torch generator draws the numbers itself. On the CPU, drawing parts together or
    one by one gives the same numbers.
    """
    if isinstance(stream, torch.Generator):
        return torch.randn((parts, count), generator=stream, device=stream.device)
    pairs = -(-count // 2)
    bits = torch.from_numpy(stream.random_raw(parts * pairs).view(np.int32)).view(parts, 2, pairs)
    integers = bits.to(torch.float32)
    uniform = torch.add(SMALLEST_UNIFORM + 0.5, integers[:, 0], alpha=2.0**-32)  # on [SMALLEST_UNIFORM, 1]
    radius = uniform.log_().mul_(-2.0).sqrt_()
    angle = integers[:, 1].mul(2.0 * math.pi * 2.0**-32)
    normals = torch.empty_like(integers)
    torch.mul(radius, angle.cos(), out=normals[:, 0])
    torch.mul(radius, angle.sin_(), out=normals[:, 1])
    return normals.view(parts, 2 * pairs)[:, :count]
