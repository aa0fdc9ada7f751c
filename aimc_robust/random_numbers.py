"""Random numbers of a simulated chip: a function of their axes and their row, the same on every device.

Normal numbers on two devices, or two kinds of CPU, differ in the last digits of float32 (by 1e-6), because logarithm,
sine and cosine do; all others are equal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from aimc_robust.philox import random_bits
from aimc_robust.seeding import Axes

NUMBERS_PER_BLOCK = 8  # of 32 bits each
CACHED = 2**16  # numbers that are made at a time on a CPU: few enough for its cache

Array: TypeAlias = "np.ndarray | Tensor"
Distribution: TypeAlias = Callable[[Any, Any], Any]
"""distribution(bits (rows, n) int32, module: numpy or torch) -> numbers (rows, n) float32."""


def normal(axes: Axes | Sequence[Axes], like: Tensor, first_row: int = 0) -> Tensor:
    """Draw standard normal numbers of the shape, dtype and device of a tensor.

    A row, the part of one index of dimension 0, has the same numbers whatever other rows are drawn; a tensor with one
    dimension is one row. All are drawn in float32, so that a float64 copy of a model sees the same chip.

    Args:
        axes: Axes of the numbers; or those of several equal parts of the rows, one after another.
        like: A tensor.
        first_row: Number of the first row, or of the first of each part.
    """
    return _like(axes, like, first_row, normals)


def uniform(axes: Axes | Sequence[Axes], like: Tensor, first_row: int = 0) -> Tensor:
    """Draw multiples of 2^-24 that are uniform on [0, 1); see `normal`."""
    return _like(axes, like, first_row, uniforms)


def laplace(axes: Axes | Sequence[Axes], like: Tensor, first_row: int = 0) -> Tensor:
    """Draw numbers of the Laplace distribution with mean 0 and parameter 1; see `normal`."""
    return _like(axes, like, first_row, laplaces)


def _like(axes: Axes | Sequence[Axes], like: Tensor, first_row: int, distribution: Distribution) -> Tensor:
    keys = [part.key() for part in ([axes] if isinstance(axes, Axes) else axes)]
    if not like.numel():
        return torch.empty_like(like)
    rows = len(like) if like.ndim > 1 else 1
    count = like.numel() // rows
    first = first_row * blocks_per_row(count)
    numbers = draw_rows(keys, rows // len(keys), count, distribution, first=first, device=like.device)
    return numbers.view(like.shape).to(like)


def blocks_per_row(count: int) -> int:
    """Return how many blocks of bits a row of `count` numbers takes."""
    return -(-count // NUMBERS_PER_BLOCK)


def draw_rows(
    keys: Sequence[int], rows: int, count: int, distribution: Distribution, *, first: int = 0, device: torch.device
) -> Tensor:
    """Draw numbers (keys, rows, count), float32 and contiguous; the first row starts at a block of each key's bits."""
    per_row = blocks_per_row(count)
    width = per_row * NUMBERS_PER_BLOCK
    if device.type != "cpu":
        bits = random_bits(keys, first, rows * per_row, device)
        return distribution(bits.reshape(-1, width), torch)[:, :count].reshape(len(keys), rows, count)
    numbers = np.empty((len(keys), rows, count), np.float32)
    step = max(CACHED // (width * len(keys)), 1)
    for start in range(0, rows, step):
        part = numbers[:, start : start + step]
        bits = random_bits(keys, first + start * per_row, part.shape[1] * per_row, device)
        part[:] = distribution(bits.reshape(-1, width), np)[:, :count].reshape(part.shape)
    return torch.from_numpy(numbers)


def normals(bits: Any, module: Any) -> Any:
    """Transform bits by Box and Muller: the first half of a row gives radii, up to 6.6, the other half angles."""
    half = bits.shape[1] // 2
    radius = _exponentials(bits[:, :half], module)
    module.sqrt(module.multiply(radius, 2.0, out=radius), out=radius)
    angle = _floats(bits[:, half:], module)
    angle *= math.pi * 2.0**-31
    both = module.concatenate([module.cos(angle), module.sin(angle)], axis=1)
    both[:, :half] *= radius
    both[:, half:] *= radius
    return both


def uniforms(bits: Any, module: Any) -> Any:
    """Transform bits to uniform numbers, see `uniform`."""
    numbers = _floats(bits & (2**24 - 1), module)
    numbers *= 2.0**-24
    return numbers


def laplaces(bits: Any, module: Any) -> Any:
    """Transform bits to Laplace numbers: an exponential one, whose sign is that of the bits."""
    return module.copysign(_exponentials(bits, module), _floats(bits, module))


def _exponentials(bits: Any, module: Any) -> Any:
    """Transform bits, but for their sign, to exponential numbers: the negative logarithm of a number within (0, 1]."""
    numbers = _floats(bits & (2**31 - 1), module)
    numbers *= 2.0**-31
    numbers += 2.0**-32
    module.log(numbers, out=numbers)
    numbers *= -1.0
    return numbers


def _floats(bits: Any, module: Any) -> Any:
    return bits.astype(np.float32) if module is np else bits.to(torch.float32)
