"""Philox 4x64-10: random bits as a function of a key and a counter, the same on every device and in any order.

J. K. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011. On the CPU NumPy's compiled form; on other
devices tensor operations. This form of Philox, and not the one of 32-bit words, because NumPy has it: in tensor
operations, bits for a small layer would cost ten times as much as its errors.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

ROUNDS = 10
MULTIPLIERS = 0xD2E7470EE14C6C93, 0xCA5A826395121157
WEYL = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B  # added to the two halves of a key from round to round
LOW, WORD = 2**32 - 1, 2**64 - 1


def random_bits(keys: Sequence[int], first: int, blocks: int, device: torch.device) -> np.ndarray | Tensor:
    """Compute blocks of 256 bits for each key: int32 (keys, 8 blocks), an array of NumPy for the CPU, else a tensor.

    Args:
        keys: Keys of the streams, of 128 bits.
        first: Number of the first block.
        blocks: How many blocks.
        device: Where to compute them.
    """
    if device.type == "cpu":
        streams = [np.random.Philox(key=key, counter=first).random_raw(4 * blocks) for key in keys]
        return (streams[0][None] if len(streams) == 1 else np.stack(streams)).view(np.int32)
    counters = torch.zeros((blocks, 4), dtype=torch.int64, device=device)
    torch.arange(first + 1, first + 1 + blocks, out=counters[:, 0])  # NumPy starts behind its counter
    return philox(keys, counters).flatten(1).view(torch.int32)


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


@functools.lru_cache(maxsize=4096)  # read noise draws with the same keys at every read, and must not upload them
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
