"""Philox 4x64-10 as one kernel of a GPU: tensor operations would read and write all words a hundred times.

Triton, which torch brings along on Linux, compiles it at its first use.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

TOGETHER = 256  # blocks of 256 bits that are computed together


@triton.jit(do_not_specialize=["first", "blocks"])  # type: ignore[untyped-decorator]
def _philox(words, constants, first, blocks, TOGETHER: tl.constexpr, ROUNDS: tl.constexpr):  # type: ignore # noqa: N803
    """Write blocks of four words of one key."""
    number = tl.program_id(0).to(tl.int64) * TOGETHER + tl.arange(0, TOGETHER)
    stream = tl.program_id(1).to(tl.int64)
    a = (number + first + 1).to(tl.uint64)  # NumPy starts behind its counter
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


def philox_bits(constants: Tensor, first: int, blocks: int, rounds: int) -> Tensor:
    """Compute blocks of 256 bits for each key: int32 (keys, 8 blocks), on the device of the constants.

    Args:
        constants: Words of 64 bits (4 + 2 keys,) int64: the two multipliers, the two words that are added to a key from
            round to round, and the keys, each with its lower word first.
        first: Number of the first block.
        blocks: How many blocks.
        rounds: How many rounds.
    """
    keys = (len(constants) - 4) // 2
    words = torch.empty((keys, 4 * blocks), dtype=torch.int64, device=constants.device)
    if blocks:
        with torch.cuda.device_of(words):  # where Triton starts its kernels
            grid = triton.cdiv(blocks, TOGETHER), keys
            _philox[grid](words, constants, first, blocks, TOGETHER=TOGETHER, ROUNDS=rounds)
    return words.view(torch.int32)
