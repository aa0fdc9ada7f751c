"""Philox 4x64-10 as one kernel of a GPU: tensor operations would read and write all words a hundred times.

Triton, which torch brings along on Linux, compiles it at its first use.
"""

import functools
from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from aimc_robust.philox import MULTIPLIERS, ROUNDS, WEYL, signed

TOGETHER = 256  # blocks of 256 bits that are computed together


@triton.jit(do_not_specialize=["first", "blocks"])  # type: ignore[untyped-decorator]
def _philox(words, constants, first, blocks, TOGETHER: tl.constexpr, ROUNDS: tl.constexpr):  # type: ignore # noqa: N803
    """Write blocks of four words of one key; `constants` has multipliers, what is added to keys, and the keys."""
    number = tl.program_id(0).to(tl.int64) * TOGETHER + tl.arange(0, TOGETHER)
    stream = tl.program_id(1)
    a = (first + 1 + number).to(tl.uint64)  # NumPy starts behind its counter
    b = tl.full((TOGETHER,), 0, tl.uint64)
    c = b
    d = b
    by_a, by_c = b + tl.load(constants).to(tl.uint64), b + tl.load(constants + 1).to(tl.uint64)
    add_0, add_1 = tl.load(constants + 2).to(tl.uint64), tl.load(constants + 3).to(tl.uint64)
    keys = constants + 4 + 2 * stream
    key_0, key_1 = tl.load(keys).to(tl.uint64), tl.load(keys + 1).to(tl.uint64)
    for _ in tl.static_range(ROUNDS):
        a, b, c, d = tl.umulhi(c, by_c) ^ b ^ key_0, c * by_c, tl.umulhi(a, by_a) ^ d ^ key_1, a * by_a
        key_0 += add_0
        key_1 += add_1
    place = words + (stream * blocks + number) * 4
    inside = number < blocks
    tl.store(place, a.to(tl.int64), inside)
    tl.store(place + 1, b.to(tl.int64), inside)
    tl.store(place + 2, c.to(tl.int64), inside)
    tl.store(place + 3, d.to(tl.int64), inside)


def philox_bits(keys: Sequence[int], first: int, blocks: int, device: torch.device) -> Tensor:
    """Compute blocks of 256 bits for each key: int32 (keys, 8 blocks); see `philox.random_bits`."""
    words = torch.empty((len(keys), 4 * blocks), dtype=torch.int64, device=device)
    if blocks:
        with torch.cuda.device_of(words):  # where Triton starts its kernels
            _philox[triton.cdiv(blocks, TOGETHER), len(keys)](
                words, _constants(tuple(keys), device), first, blocks, TOGETHER=TOGETHER, ROUNDS=ROUNDS
            )
    return words.view(torch.int32)


@functools.lru_cache(maxsize=4096)  # read noise draws with the same keys at every read, and must not upload them
def _constants(keys: tuple[int, ...], device: torch.device) -> Tensor:
    words = [*MULTIPLIERS, *WEYL, *(word for key in keys for word in (key, key >> 64))]
    return torch.tensor([signed(word) for word in words]).to(device)
