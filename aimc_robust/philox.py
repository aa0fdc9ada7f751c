"""Philox 4x64-10: random bits as a function of a key and a counter, the same on every device and in any order.

J. K. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011. On the CPU NumPy's compiled form and,
where Numba is installed, its kernels; on GPUs a kernel of Triton; on other devices tensor operations. This form of
Philox, and not the one of 32-bit words, because NumPy has it: in tensor operations, bits for a small layer would cost
ten times as much as its errors.
"""

from __future__ import annotations

import functools
import importlib.util
import threading
from collections.abc import Callable, Sequence
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from aimc_robust.errors import warn
from aimc_robust.philox_constants import MULTIPLIERS, ROUNDS, WEYL, WORD

LOW = 2**32 - 1
_OF_THREAD, _EMPTY = threading.local(), np.zeros(4, np.uint64)


def random_bits(keys: Sequence[int], first: int, blocks: int, device: torch.device) -> np.ndarray | Tensor:
    """Compute blocks of 256 bits for each key: int32 (keys, 8 blocks), an array of NumPy for the CPU, else a tensor.

    Args:
        keys: Keys of the streams, of 128 bits.
        first: Number of the first block.
        blocks: How many blocks.
        device: Where to compute them.
    """
    if device.type == "cpu":
        streams = [_numpy_words(key, first, 4 * blocks) for key in keys]
        return (streams[0][None] if len(streams) == 1 else np.stack(streams)).view(np.int32)
    if device.type == "cuda" and (kernel := _kernel_on(device)) is not None:
        return kernel(_kernel_constants(tuple(keys), device), first, blocks, ROUNDS)
    counters = torch.zeros((blocks, 4), dtype=torch.int64, device=device)
    torch.arange(first + 1, first + 1 + blocks, out=counters[:, 0])  # NumPy starts behind its counter
    return philox(keys, counters).flatten(1).contiguous().view(torch.int32)


def _numpy_words(key: int, first: int, count: int) -> np.ndarray:
    """Compute words with the generator of this thread; making one takes longer than drawing for a small layer."""
    if not hasattr(_OF_THREAD, "generator"):
        _OF_THREAD.generator = np.random.Philox(key=0)
    generator: np.random.Philox = _OF_THREAD.generator
    generator.state = {
        "bit_generator": "Philox",
        "state": {
            "counter": np.array((first, 0, 0, 0), np.uint64),
            "key": np.array(halves(key), np.uint64),
        },
        "buffer": _EMPTY,
        "buffer_pos": 4,  # the buffer is used up
        "has_uint32": 0,
        "uinteger": 0,
    }
    words: np.ndarray = generator.random_raw(count)
    return words


def halves(key: int) -> tuple[int, int]:
    """Return the lower and the upper word of a key."""
    return key & WORD, key >> 64


@functools.cache
def numba_kernels() -> ModuleType | None:
    """Return the module `numba_kernels`, or None if Numba is not installed. The first import takes half a second."""
    if importlib.util.find_spec("numba") is None:
        return None
    try:
        from aimc_robust import numba_kernels

        numba_kernels.fill_words(np.empty(4, np.uint64), 0, 0, 0)
    except Exception as error:  # Numba does not support this version of Python or NumPy, or NUMBA_DISABLE_JIT is set
        warn(
            "random numbers are computed by NumPy, which is slower, because Numba cannot be used: "
            f"{' '.join(str(error).split()) or type(error).__name__}",
        )
        return None
    return numba_kernels


@functools.cache
def _kernel_on(device: torch.device) -> Callable[[Tensor, int, int, int], Tensor] | None:
    """Return `philox_triton.philox_bits`; None, with a warning, if it cannot be compiled for a GPU."""
    try:
        from aimc_robust.philox_triton import philox_bits

        philox_bits(_kernel_constants((0,), device), 0, 1, ROUNDS)
    except Exception as error:  # no Triton for this system, or no C compiler, which it needs
        warn(
            f"random numbers on {device} are computed by tensor operations, which is slower, because Triton's kernel "
            f"cannot be compiled: {' '.join(str(error).split()) or type(error).__name__}",
        )
        return None
    return philox_bits


@functools.lru_cache(maxsize=4096)  # read noise draws with the same keys at every read, and must not upload them
def _kernel_constants(keys: tuple[int, ...], device: torch.device) -> Tensor:
    words = [*MULTIPLIERS, *WEYL, *(word for key in keys for word in (key, key >> 64))]
    return torch.tensor([_signed(word) for word in words]).to(device)


def philox(keys: Sequence[int], counters: Tensor) -> Tensor:
    """Compute blocks of four words of 64 bits in tensor operations: (keys, blocks, 4) int64, on the counters' device.

    Args:
        keys: Keys of 128 bits, the first word lowest.
        counters: Counter of each block, four words (blocks, 4) int64 with the lowest first.
    """
    multipliers, round_keys = _constants(tuple(keys), counters.device)
    low, high = multipliers & LOW, _high(multipliers)
    words_first = counters.T.unsqueeze(1)
    multiplied, others = words_first[0::2], words_first[1::2]  # words 0 and 2, words 1 and 3
    for round_key in round_keys:
        # The upper half of a product of 128 bits, from those of halves of 32 bits; the lower half is the product.
        a, b = multiplied & LOW, _high(multiplied)
        cross, other, top = a * high, b * low, b * high
        carry = _high(a.mul_(low)).add_(cross & LOW).add_(other & LOW)
        for part in (cross, other, carry):
            top += _high(part)
        product = multiplied * multipliers
        multiplied, others = (top.flip(0) ^ others) ^ round_key, product.flip(0)
    return torch.stack([multiplied, others.expand_as(multiplied)], dim=1).flatten(0, 1).movedim(0, -1)


@functools.lru_cache(maxsize=4096)  # see above
def _constants(keys: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the multipliers (2, 1, 1) and the keys of each round (ROUNDS, 2, keys, 1) on a device."""
    words = [_signed(word) for word in MULTIPLIERS]
    words += [_signed((key >> 64 * half) + n * WEYL[half]) for n in range(ROUNDS) for half in (0, 1) for key in keys]
    constants = torch.tensor(words).to(device)
    return constants[:2].view(2, 1, 1), constants[2:].view(ROUNDS, 2, len(keys), 1)


def _high(words: Tensor) -> Tensor:
    """Return the upper 32 bits of words of 64."""
    return words.bitwise_right_shift(32).bitwise_and_(LOW)


def _signed(word: int) -> int:
    return (word & WORD) - ((word & WORD) >> 63 << 64)
