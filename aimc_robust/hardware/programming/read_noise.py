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

# Whether the CPU has instructions for products. An older torch cannot tell; the products are then of float32, as on a
# CPU without them.
HAS_BFLOAT16 = hasattr(torch.cpu, "get_capabilities") and bool(torch.cpu.get_capabilities().get("avx512_bf16", False))
UNIFORM_STEP = 2.0**-16
Array = tuple[int | str, ...]
"""What names an array's stream: bank, tile, input slice, the time step of a recurrent layer, a further call of a layer
in one forward pass; before them, what draws if it is not the array's outputs."""
BLOCK = 2**19  # normal numbers that are made at a time: enough for several threads, few enough for the cache


def reject_tracing(layer: str) -> None:
    """Raise InputError if torch records the forward pass (trace, export): read noise would become a constant in it."""
    is_traced = torch.jit.is_tracing()  # type: ignore[attr-defined]
    if is_traced or torch.compiler.is_exporting() or get_proxy_mode() is not None:
        raise InputError(
            f"the layer {layer!r} draws read noise, or computes in CrossSim, at every multiply; a traced or exported "
            "model would repeat one result as a constant. Export the model programmed with read_noise=False, without "
            "noise of DACs and outputs, on the native backend, or run it as it is."
        )


def to_variance_type(values: Tensor, *, overwrite: bool = False) -> Tensor:
    """Round variances of devices, squares of inputs, or their products, to the 8 bits of bfloat16, in float32 on a CPU.

    The product then takes half the time of one in float32, and the standard deviation of the noise errs by 0.1 % on
    average and 0.8 % at most. A CPU without instructions for it computes in float32 with the same rounded numbers.
    Values in float64, and on other devices, are returned as they are. `overwrite` allows their memory to be reused.
    """
    if values.dtype != torch.float32 or values.device.type != "cpu":
        return values
    if HAS_BFLOAT16:
        return values.bfloat16()
    return values.copy_(values.bfloat16()) if overwrite else values.bfloat16().float()


class ReadNoise:
    """Source of standard normal numbers for the outputs of arrays, with one stream per array.

    The noise of one output, the sum of x_j times the independent Gaussian noise of its devices, is exactly Gaussian
    with variance sum_j x_j^2 sigma_j^2: one number per output replaces one per device. This holds for Gaussian noise
    that is added to a state, not if a noisy state is clipped (at 0, for states within a few sigma of it) or if the
    current is not proportional to the input (I-V curves).

    On the CPU the numbers of one image do not depend on its batch, for a layer whose inputs have images along dimension
    0. On other devices they come from the device's generator and do depend on it.
    """

    def __init__(self, axes: Axes) -> None:
        self._axes = axes
        self._streams: dict[Any, np.random.SFC64 | torch.Generator] = {}

    def draw(self, like: Tensor, array: Array, *, outputs_last: bool) -> Tensor:
        """Draw the next standard normal numbers of the stream of an array, like a tensor.

        `outputs_last`: whether `like` has shape (..., outputs) instead of (images, outputs, ...).
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

    64 bits give two pairs of numbers: each a radius of 2^16 levels, up to 4.85 (of a million normal numbers one lies
    beyond), and an angle of 2^16. torch computes both with all its threads; the bits come from one thread, in a ninth
    of its time. A torch generator draws the numbers itself. On the CPU, drawing parts together or one by one gives the
    same numbers.
    """
    if isinstance(stream, torch.Generator):
        return torch.randn((parts, count), generator=stream, device=stream.device)
    words = -(-count // 4)
    normals = torch.empty(parts, 2, 2 * words)
    for block in normals.split(max(1, BLOCK // max(4 * words, 1))):
        bits = torch.from_numpy(stream.random_raw(len(block) * words).view(np.int16)).view(block.shape)
        radius = bits[:, 0].mul(UNIFORM_STEP).add_(0.5 + UNIFORM_STEP / 2.0)  # uniform within (0, 1)
        radius.log_().mul_(-2.0).sqrt_()
        angle = bits[:, 1].mul(2.0 * math.pi * UNIFORM_STEP)
        torch.cos(angle, out=block[:, 0])
        torch.sin(angle, out=block[:, 1])
        block.mul_(radius[:, None])
    return normals.view(parts, 4 * words)[:, :count]
