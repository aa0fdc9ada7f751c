"""Random numbers compiled for the CPU by Numba: NumPy takes up to three times as long, and its threads wait for others.

Philox is as in `philox`. Normal numbers differ from NumPy's in the last digits of float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from aimc_robust.philox_constants import MULTIPLIERS, ROUNDS, WEYL

TOGETHER = 64  # blocks of 256 bits that are looked up together, in the first cache
M0, M1, W0, W1 = (np.uint64(word) for word in (*MULTIPLIERS, *WEYL))
ONE, TWO = np.float32(1.0), np.float32(2.0)
HALF_STEP, STEP, QUARTER = np.float32(2.0**-32), np.float32(2.0**-31), np.float32(2.0**-30)
LOG_2 = np.float32(np.log(2.0))
TWO_THIRDS = np.int32(0x3F2AAAAB)  # the bits of the number in float32


def _polynomial(*coefficients: float) -> Any:
    """Compile a polynomial, of ascending powers."""
    first, *others = reversed([np.float32(c) for c in coefficients])
    terms = tuple(others)

    def evaluate(x: Any) -> Any:
        value = first
        for term in terms:
            value = value * x + term
        return value

    return njit(evaluate, inline="always")


# With the least largest error, below 1e-7.
log_ratio = _polynomial(  # log(1 + x) / x for x from -1/3 to 1/3
    1.0, -0.49999932, 0.33333039, -0.25008028, 0.2001779, -0.16412783, 0.13903474, -0.15403242, 0.1443489
)
cosine_ratio = _polynomial(-1.23369795, 0.25360636, -0.02042625)  # (cos(pi x / 2) - 1) / x^2, of x^2 to 1/4
sine_ratio = _polynomial(1.57079632, -0.64596348, 0.07968023, -0.00460218)  # sin(pi x / 2) / x, of x^2 to 1/4


Kernel = Callable[..., None]


def _compiled(signature: str) -> Callable[[Kernel], Kernel]:
    """Compile a function when it is defined, or read it from Numba's cache on disk."""

    def compile_(function: Kernel) -> Kernel:
        try:
            return njit(signature, nogil=True, cache=True)(function)
        except RuntimeError:  # no folder that can be written to
            return njit(signature, nogil=True)(function)

    return compile_


def _multiply_words(typing: Any, a: Any, b: Any) -> Any:
    """Multiply words: the upper and the lower 64 bits, by the processor's one instruction for both."""
    signature = types.UniTuple(types.uint64, 2)(types.uint64, types.uint64)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word, double = ir.IntType(64), ir.IntType(128)
        product = builder.mul(*(builder.zext(arg, double) for arg in args))
        high = builder.trunc(builder.lshr(product, ir.Constant(double, 64)), word)
        return context.make_tuple(builder, signature.return_type, (high, builder.trunc(product, word)))

    return signature, generate


_product: Any = intrinsic(_multiply_words)


def _same_bits(from_type: Any, to_type: Any) -> Any:
    """Compile a function that returns the bits of a number as one of another type."""

    @intrinsic
    def convert(typing: Any, x: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.bitcast(args[0], context.get_value_type(to_type))

        return to_type(from_type), generate

    return convert


to_bits, from_bits = _same_bits(types.float32, types.int32), _same_bits(types.int32, types.float32)


@_compiled("void(uint64[::1], uint64, uint64, uint64)")
def fill_words(words: Any, first: Any, key_0: Any, key_1: Any) -> None:
    """Write the words of blocks of 256 bits, four each, from block `first` on; the key's lower word is `key_0`."""
    for block in range(len(words) // 4):
        a, b, c, d = first + np.uint64(block + 1), np.uint64(0), np.uint64(0), np.uint64(0)  # as NumPy counts
        k, m = key_0, key_1
        for _ in range(ROUNDS):
            high_0, low_0 = _product(a, M0)
            high_1, low_1 = _product(c, M1)
            a, b, c, d = high_1 ^ b ^ k, low_1, high_0 ^ d ^ m, low_0
            k, m = k + W0, m + W1
        words[4 * block], words[4 * block + 1], words[4 * block + 2], words[4 * block + 3] = a, b, c, d


@_compiled("void(float32[::1], float32[:, ::1], uint64, uint64, uint64)")
def look_up(table: Any, numbers: Any, first: Any, key_0: Any, key_1: Any) -> None:
    """Write an entry of a table of 2^16 for each 16 bits; each row starts at a block of its own, from `first` on."""
    words = np.empty(4 * TOGETHER, np.uint64)
    places = words.view(np.uint16)
    rows, count = numbers.shape
    for row in range(rows):
        for start in range(0, count, len(places)):
            some = min(len(places), count - start)
            blocks = (some + 15) // 16
            fill_words(words[: 4 * blocks], first, key_0, key_1)
            first += np.uint64(blocks)
            for i in range(some):
                numbers[row, start + i] = table[places[i]]


@njit(inline="always")
def pair(radius_bits: Any, turn: Any) -> Any:
    """Transform two int32 to two normal numbers: 31 bits give a radius, 32 an angle, in 2^-32 of a turn."""
    x = np.float32(radius_bits & np.int32(2**31 - 1)) * STEP + HALF_STEP
    bits = to_bits(x)
    exponent = np.int32(np.int32(bits - TWO_THIRDS) >> np.int32(23))
    x = from_bits(np.int32(bits - np.int32(exponent << np.int32(23)))) - ONE  # from -1/3 to 1/3
    radius = np.sqrt((x * log_ratio(x) + np.float32(exponent) * LOG_2) * -TWO)
    quarter = np.int32(np.int32(turn + np.int32(2**29)) >> np.int32(30))  # the nearest, -2 to 1
    x = np.float32(np.int32(turn - np.int32(quarter << np.int32(30)))) * QUARTER
    square = x * x
    cosine, sine = cosine_ratio(square) * square + ONE, sine_ratio(square) * x
    first, second = (sine, cosine) if quarter & np.int32(1) else (cosine, sine)
    first = -radius * first if np.int32(quarter + np.int32(1)) & np.int32(2) else radius * first
    second = -radius * second if quarter & np.int32(2) else radius * second
    return first, second


@_compiled("void(float32[:, ::1], uint64, uint64, uint64)")
def normals(numbers: Any, first: Any, key_0: Any, key_1: Any) -> None:
    """Write normal numbers of 32 bits, see `random_numbers.normals`; rows as in `look_up`."""
    rows, count = numbers.shape
    blocks = (count + 7) // 8
    words = np.empty(4 * blocks, np.uint64)
    bits = words.view(np.int32)
    half = 4 * blocks
    cosines, sines = np.empty(half, np.float32), np.empty(half, np.float32)
    for row in range(rows):
        fill_words(words, first, key_0, key_1)
        first += np.uint64(blocks)
        for i in range(half):
            cosines[i], sines[i] = pair(bits[i], bits[half + i])
        numbers[row, : min(half, count)] = cosines[:count]
        if count > half:
            numbers[row, half:] = sines[: count - half]
