"""Rounding to the levels of a converter, and input bit slicing.

After CrossSim 3.2 (BSD-3, sandialabs/cross-sim): values are clipped to the range, then rounded to the nearest level,
ties to even. Gradients pass straight through the rounding and are 0 where a value was clipped.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from aimc_robust.errors import InputError


def input_levels(kind: str, bits: int) -> tuple[float, int]:
    """Return the lowest input of a DAC in units of full scale, and the number of intervals between its levels.

    With 0 bits there are no levels: 0.
    """
    match kind:
        case "unsigned":
            return 0.0, 2**bits - 1 if bits else 0
        case "signed":
            return -1.0, 2**bits - 1 if bits else 0
        case "sign-magnitude":
            return -1.0, 2**bits - 2 if bits else 0
    raise InputError(f"a DAC of kind {kind!r} has no levels before calibration.")


class Levels(NamedTuple):
    """Rounded values as step * numbers + shift, for sums that are scaled once; other values have step 1 and shift 0."""

    numbers: Tensor
    step: float = 1.0
    shift: float = 0.0

    def values(self) -> Tensor:
        """Compute the values in the memory of the numbers."""
        if self.shift:
            return _affine(self.numbers, self.step, self.shift, overwrite=True)
        return self.numbers if self.step == 1.0 else self.numbers.mul_(self.step)


class LevelScale(NamedTuple):
    """Whole numbers as the levels of a converter: a value x has the level clamp(scale * x + shift, first, last)."""

    scale: float
    shift: float
    first: float
    last: float

    def round_(self, scaled: Tensor) -> Levels:
        """Round scale * x + shift to levels, in place."""
        numbers = scaled.clamp_(self.first, self.last).round_()
        return Levels(numbers, 1.0 / self.scale, -self.shift / self.scale)


def level_scale(low: float, high: float, steps: int) -> LevelScale:
    """Return the scale of steps + 1 equally spaced levels on [low, high].

    On a symmetric range levels are counted from its middle: a level at 0 is exactly 0, and if 0 lies between two
    levels it is rounded up, whatever the range (as in CrossSim).
    """
    scale = steps / (high - low)
    if low == -high and steps % 2 == 0:
        return LevelScale(scale, 0.0, -steps / 2, steps / 2)
    levels_below_zero = steps / 2 if low == -high else -low * scale + 0.0  # may be fractional; not -0.0
    return LevelScale(scale, levels_below_zero, 0.0, float(steps))


def quantize(x: Tensor, low: float, high: float, steps: int, *, overwrite: bool = False) -> Tensor:
    """Clip x to [low, high] and round it to the nearest of steps + 1 equally spaced levels, ties to even.

    With 0 steps it is clipped only.

    `overwrite` allows x's memory to be reused for the result if no gradient is recorded.
    """
    return quantize_to_levels(x, low, high, steps, overwrite=overwrite).values()


def quantize_to_levels(x: Tensor, low: float, high: float, steps: int, *, overwrite: bool = False) -> Levels:
    """Quantize, and leave it to the caller to scale the levels; see `quantize`."""
    if torch.is_grad_enabled() and x.requires_grad:
        rounded: Tensor = _StraightThrough.apply(x, low, high, steps)
        return Levels(rounded)
    return _to_levels(x, low, high, steps, overwrite=overwrite)


def _to_levels(x: Tensor, low: float, high: float, steps: int, *, overwrite: bool = False) -> Levels:
    """Clip x and round it in as few passes as possible."""
    if not steps:
        return Levels(x.clamp_(low, high) if overwrite else x.clamp(low, high))
    levels = level_scale(low, high, steps)
    if levels.shift:
        return levels.round_(_affine(x, levels.scale, levels.shift, overwrite=overwrite))
    return levels.round_(x.mul_(levels.scale) if overwrite else x.mul(levels.scale))


def _affine(x: Tensor, factor: float, shift: float, *, overwrite: bool) -> Tensor:
    """Compute factor * x + shift in one pass; `overwrite`: in place, if it can be."""
    # torch.export records the operation with gradients, which torch refuses for `out`.
    out = x if overwrite and not torch.compiler.is_exporting() else None
    return torch.add(torch.full((), shift, dtype=x.dtype, device=x.device), x, alpha=factor, out=out)


class _StraightThrough(torch.autograd.Function):
    """The gradient of rounding is taken as 1 within the range, 0 outside (Bengio et al., arXiv 1308.3432)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float, steps: int) -> Tensor:
        ctx.save_for_backward((x >= low) & (x <= high))
        return _to_levels(x, low, high, steps).values()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (inside,) = ctx.saved_tensors
        return grads[0] * inside, None, None, None


def input_slices(x: Tensor, full_scale: float, kind: str, bits: int, slice_bits: int) -> tuple[list[Tensor], float]:
    """Cut quantized inputs into slices of `slice_bits` bits, least significant first (CrossSim 3.2, input bit slicing).

    Each slice is digit / (2^slice_bits - 1) with x's sign, in units of full scale. The results y_k of the slices are
    combined as acc = (acc + y_k) / 2^slice_bits, from the first slice on, then multiplied by the returned factor.
    """
    magnitude_bits = bits if kind == "unsigned" else bits - 1
    top = 2**magnitude_bits - 1
    code = x.abs().mul_(top / full_scale).round_()
    sign = x.sign()
    count = -(-magnitude_bits // slice_bits)
    base = 2.0**slice_bits
    slices = []
    for _ in range(count):
        digit = torch.remainder(code, base)
        code = code.sub_(digit).div_(base)
        slices.append(digit.div_(base - 1.0).mul_(sign))
    factor = (base - 1.0) * 2.0 ** (slice_bits * count - magnitude_bits) * 2.0**magnitude_bits / top
    return slices, factor
