"""Converters at the edges of an array: inputs become voltages (DAC), column currents become numbers (ADC).

Levels after CrossSim 3.2 (BSD-3, sandialabs/cross-sim): rounding is to the nearest level, ties to even, after clipping
to the range. Gradients pass straight through the rounding and are 0 where a value was clipped.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from aimc_robust.errors import InputError, require_finite, require_known, require_whole

DAC_KINDS = ("auto", "unsigned", "signed", "sign-magnitude", "ideal")
ADC_KINDS = ("uniform", "sign-magnitude")
ADC_RANGES = ("calibrated", "worst-case")
MOST_BITS = 16


@dataclass(frozen=True, kw_only=True)
class DAC:
    """Input converter of every row.

    bits: resolution, 1 to 16; 0 for an ideal one.
    kind: `unsigned`, 2^bits levels on [0, full scale]; `signed`, 2^bits levels on +-full scale, none of which is 0;
        `sign-magnitude`, 2^bits - 1 levels on +-full scale with one at 0; `auto`, unsigned for a layer whose
        calibrated inputs are never negative, sign-magnitude for the others; `ideal`, which neither clips nor rounds.
    full_scale: the largest input, in units of the layer's input; None takes each layer's calibrated one.
    slice_bits: bits applied at a time, least significant first; 0 applies the whole input at once.
    """

    bits: int = 0
    kind: str = "auto"
    full_scale: float | None = None
    slice_bits: int = 0

    def __post_init__(self) -> None:
        require_known("DAC kind", self.kind, DAC_KINDS)
        least, most = {"ideal": (0, 0), "unsigned": (1, MOST_BITS)}.get(self.kind, (2, MOST_BITS))
        require_whole(f"bits of a DAC of kind {self.kind}", self.bits, low=least, high=most)
        if self.full_scale is not None:
            require_finite("full_scale of a DAC", self.full_scale)
            if self.full_scale == 0:
                raise InputError("full_scale of a DAC must be above 0; leave it out to calibrate it.")
        require_whole("slice_bits (0: no input slicing)", self.slice_bits, low=0, high=self.bits)
        if self.slice_bits and self.kind in ("signed", "ideal"):
            raise InputError(
                "input bit slicing needs a magnitude in bits: use a DAC of kind `unsigned` or `sign-magnitude`, not "
                f"`{self.kind}`."
            )

    @property
    def needs_calibration(self) -> bool:
        """Whether its range or kind is found from data."""
        return self.kind == "auto" or (self.full_scale is None and self.kind != "ideal")


@dataclass(frozen=True, kw_only=True)
class ADC:
    """Output converter of every column; each array's output is converted by itself, then added digitally.

    bits: resolution, 1 to 16 (sign-magnitude: from 2).
    kind: `uniform`, 2^bits levels on the range; `sign-magnitude`, 2^bits - 1 levels.
    range: `calibrated`, each layer's own from data; `worst-case`, what no column can exceed; or (low, high) in units
        of the current of one device at the top of the window with a full-scale input.
    per_slice: with input slicing, convert after every input slice instead of once after all of them.
    """

    bits: int
    kind: str = "uniform"
    range: str | tuple[float, float] = "calibrated"
    per_slice: bool = False

    def __post_init__(self) -> None:
        require_known("ADC kind", self.kind, ADC_KINDS)
        low = 2 if self.kind == "sign-magnitude" else 1
        require_whole(f"bits of an ADC of kind {self.kind}", self.bits, low=low, high=MOST_BITS)
        if isinstance(self.range, str):
            require_known("ADC range", self.range, ADC_RANGES)
            return
        object.__setattr__(self, "range", pair("range of an ADC", self.range))

    @property
    def needs_calibration(self) -> bool:
        """Whether its range is found from data."""
        return self.range == "calibrated"

    @property
    def steps(self) -> int:
        """Intervals between neighbouring levels over the range."""
        return 2**self.bits - (2 if self.kind == "sign-magnitude" else 1)

    def convert(self, current: Tensor, low: float, high: float) -> Tensor:
        """`current` on the levels of [low, high]; may reuse its memory where no gradient is kept."""
        return quantised(current, low, high, self.steps, overwrite=True)


def pair(name: str, values: Any) -> tuple[float, float]:
    """`values` as (low, high); InputError unless they are two finite numbers with low < high."""
    try:
        low, high = (float(value) for value in values)
        valid = low < high and abs(low) < float("inf") and abs(high) < float("inf")
    except (TypeError, ValueError):
        valid = False
    if not valid:
        raise InputError(f"{name} must be (low, high) with low < high, both finite, got {values!r}.")
    return low, high


def input_levels(kind: str, bits: int) -> tuple[float, int]:
    """(lowest input in units of full scale, intervals between levels) of a DAC of this kind."""
    match kind:
        case "unsigned":
            return 0.0, 2**bits - 1
        case "signed":
            return -1.0, 2**bits - 1
        case "sign-magnitude":
            return -1.0, 2**bits - 2
    raise InputError(f"a DAC of kind {kind!r} has no levels before calibration.")


def quantised(x: Tensor, low: float, high: float, steps: int, *, overwrite: bool = False) -> Tensor:
    """x clipped to [low, high] and rounded to the nearest of steps + 1 equally spaced levels, ties to even.

    Any shape; the result has x's dtype. overwrite: x may be reused for the result where no gradient is kept.
    """
    if torch.is_grad_enabled() and x.requires_grad:
        return _StraightThrough.apply(x, low, high, steps)
    return _rounded_(x.clamp_(low, high) if overwrite else x.clamp(low, high), low, high, steps)


def _rounded_(x: Tensor, low: float, high: float, steps: int) -> Tensor:
    """x within [low, high] rounded in place, in as few passes as that takes.

    On a symmetric range levels are counted from its middle: a level at 0 is exactly 0, and where 0 lies between two
    levels it goes up, whatever the range (as in CrossSim).
    """
    step = (high - low) / steps
    if low == 0 or (low == -high and steps % 2 == 0):
        return x.mul_(1.0 / step).round_().mul_(step)
    below_zero = steps / 2 if low == -high else -low / step  # levels, whole or not
    _affine_(x, 1.0 / step, below_zero).round_()
    return _affine_(x, step, -below_zero * step)


def _affine_(x: Tensor, factor: float, shift: float) -> Tensor:
    """factor * x + shift in one pass, in place."""
    return torch.add(torch.full((), shift, dtype=x.dtype, device=x.device), x, alpha=factor, out=x)


class _StraightThrough(torch.autograd.Function):
    """The gradient of rounding taken as 1 within the range, 0 outside (Bengio et al., arXiv 1308.3432)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float, steps: int) -> Tensor:
        ctx.save_for_backward((x >= low) & (x <= high))
        return _rounded_(x.clamp(low, high), low, high, steps)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (inside,) = ctx.saved_tensors
        return grads[0] * inside, None, None, None


def input_slices(x: Tensor, full_scale: float, kind: str, bits: int, slice_bits: int) -> tuple[list[Tensor], float]:
    """Cut quantised inputs into slices, least significant first, each digit / (2^slice_bits - 1) with x's sign.

    Returns the slices [of full scale] and the factor by which the shifted sum of their results is multiplied.
    Source: CrossSim 3.2, input bit slicing; acc = (acc + y_k) / 2^slice_bits from the first slice on.
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
