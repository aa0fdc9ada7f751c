"""Random numbers of a simulated chip: a function of their axes and their row, the same on every device.

Normal numbers of 32 bits on two devices, on two kinds of CPU, or with and without Numba, differ in the last digits of
float32 (by 1e-6), because logarithm, sine and cosine do; all others are equal.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from aimc_robust.philox import halves, numba_kernels, random_bits
from aimc_robust.seeding import Axes

CACHED = 2**18  # numbers that are made at a time on a CPU: few enough for its cache, enough for a thread
CPU = torch.device("cpu")
WORTH_THREADS = 2**17  # numbers, from which on threads are used
LONG_ROW = 512  # numbers, from which on Numba is used, whose import takes half a second

Array: TypeAlias = "np.ndarray | Tensor"
Distribution: TypeAlias = Callable[[Any, Any, Any], Any]
"""distribution(bits (rows, n) int32, module: numpy or torch, out) -> numbers (rows, n) float32, written to `out`.

With `out` None, in new memory. The bits may be overwritten.
"""


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
    if not like.numel():
        return torch.empty_like(like)
    keys = [axes.key()] if isinstance(axes, Axes) else [part.key() for part in axes]
    rows = len(like) if like.ndim > 1 else 1
    count = like.numel() // rows
    first = first_row * blocks_per_row(count, 32)
    return (
        draw_rows(keys, rows // len(keys), count, distribution, first=first, device=like.device).view_as(like).to(like)
    )


def blocks_per_row(count: int, bits: int) -> int:
    """Return how many blocks of 256 bits a row takes, with so many bits for each of `count` numbers."""
    return -(-count * bits // 256)


def draw_rows(
    keys: Sequence[int],
    rows: int,
    count: int,
    distribution: Distribution,
    *,
    first: int = 0,
    bits: int = 32,
    device: torch.device,
) -> Tensor:
    """Draw numbers (keys, rows, count), float32 and contiguous; the first row starts at a block of each key's bits."""
    per_row = blocks_per_row(count, bits)
    words, width = per_row * 8, per_row * 256 // bits  # of 32 bits, and numbers of which the last may be left out
    if device.type != "cpu":
        drawn = random_bits(keys, first, rows * per_row, device)
        return distribution(drawn.reshape(-1, words), torch, None)[:, :count].reshape(len(keys), rows, count)
    numbers = np.empty((len(keys), rows, count), np.float32)
    if not numbers.size:
        return torch.from_numpy(numbers)
    compiled = _compiled(distribution, rows, count)
    step = max(CACHED // (words * len(keys)), 1)

    def draw(starts: range) -> None:
        for start in starts:
            part = numbers[:, start : min(start + step, starts.stop)]
            if compiled is not None:
                for key, own in zip(keys, part, strict=True):
                    compiled(own, first + start * per_row, *halves(key))
                continue
            drawn = random_bits(keys, first + start * per_row, part.shape[1] * per_row, CPU).reshape(-1, words)
            if len(keys) == 1 and width == count:
                distribution(drawn, np, part[0])
            else:
                part[...] = distribution(drawn, np, None)[:, :count].reshape(part.shape)

    threads = torch.get_num_threads() if numbers.size >= WORTH_THREADS else 1
    share = -(-rows // threads)
    ours, *others = (range(start, min(start + share, rows), step) for start in range(0, rows, share))
    # This thread works, too: two that are woken at once often wait for the same core.
    drawing = [_pool(len(others), os.getpid()).submit(draw, starts) for starts in others]
    draw(ours)
    for part in drawing:
        part.result()  # which raises what its thread raised
    return torch.from_numpy(numbers)


def _compiled(distribution: Distribution, rows: int, count: int) -> Callable[..., None] | None:
    """Return the kernel of Numba for many numbers, if there is one: kernel(numbers, first block, words of the key)."""
    if distribution is short_normals and rows * count >= WORTH_THREADS and (kernels := numba_kernels()) is not None:
        return functools.partial(kernels.look_up, normal_means())
    # Its last digits are not NumPy's: which of them computes a row may not depend on what else is drawn.
    if distribution is normals and count >= LONG_ROW and (kernels := numba_kernels()) is not None:
        return kernels.normals
    return None


@functools.lru_cache(maxsize=1)
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """Return threads that stay: to start them takes as long as a million numbers. A forked process has its own."""
    return ThreadPoolExecutor(threads)


def normals(bits: Any, module: Any, out: Any = None) -> Any:
    """Transform bits by Box and Muller: the first half of a row gives radii, up to 6.6, the other half angles."""
    rows, half = bits.shape[0], bits.shape[1] // 2
    uniform = _above_zero(bits[:, :half], module)
    radius = module.sqrt(_logarithm(uniform, -2.0, module), out=uniform)
    angle = _scaled(bits[:, half:], math.pi * 2.0**-31, module)
    numbers = module.empty((rows, 2 * half), dtype=module.float32, device=radius.device) if out is None else out
    both = numbers.reshape(rows, 2, half)
    module.cos(angle, out=both[:, 0])
    module.sin(angle, out=both[:, 1])
    both *= radius[:, None]
    return numbers


def short_normals(bits: Any, module: Any, out: Any = None) -> Any:
    """Look up a number for each 16 bits: one of `normal_means`, the same to the last digit on every device."""
    if module is np:
        return normal_means().take(bits.view(np.uint16), out=out, mode="clip")
    # Numbers below 0 index from the end, which is where they lie as numbers without a sign.
    return _normal_means_on(bits.device).take(bits.view(torch.int16).long())


@functools.cache
def normal_means() -> np.ndarray:
    """Return the means of 2^16 equally likely parts of the normal distribution, scaled to variance 1: float32.

    They end at 4.39, beyond which 11 of a million normal numbers lie; the fourth moment is 0.0002 too small.
    """
    ends = ndtri(np.arange(2**16 + 1) / 2**16)
    density = np.exp(-0.5 * ends**2) / math.sqrt(2.0 * math.pi)
    means = 2.0**16 * (density[:-1] - density[1:])
    return (means / means.std()).astype(np.float32)


@functools.lru_cache(maxsize=16)
def _normal_means_on(device: torch.device) -> Tensor:
    return torch.from_numpy(normal_means()).to(device)


def uniforms(bits: Any, module: Any, out: Any = None) -> Any:
    """Transform bits to uniform numbers, see `uniform`."""
    return _scaled(bits & (2**24 - 1), 2.0**-24, module, out)


def laplaces(bits: Any, module: Any, out: Any = None) -> Any:
    """Transform bits to Laplace numbers: an exponential one, whose sign is that of the bits."""
    signs = _scaled(bits, 1.0, module)
    return module.copysign(_logarithm(_above_zero(bits, module), -1.0, module), signs, out=out)


def _above_zero(bits: Any, module: Any) -> Any:
    """Transform bits, whose sign is lost, to numbers that are uniform within (0, 1]."""
    bits &= 2**31 - 1
    uniform = _scaled(bits, 2.0**-31, module)
    uniform += 2.0**-32
    return uniform


def _logarithm(numbers: Any, factor: float, module: Any) -> Any:
    """Compute factor * log(numbers) in place."""
    module.log(numbers, out=numbers)
    numbers *= factor
    return numbers


def _scaled(bits: Any, factor: float, module: Any, out: Any = None) -> Any:
    """Return whole numbers times a factor, in float32."""
    if out is None:
        numbers = bits.astype(np.float32) if module is np else bits.to(torch.float32)
    else:
        numbers = out
        numbers[...] = bits
    numbers *= factor
    return numbers
