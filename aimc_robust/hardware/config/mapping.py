"""Weights to normalised device states and back: pure functions, after CrossSim 3.2 (BSD-3, sandialabs/cross-sim).

Notation: u = W / w_max in [-1, 1]; g = state / max state in [g_min, 1], with g_min = min / max of the window.
A weight's devices are grouped in banks: the devices of one bank share a column pair, whose current is their signed sum.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from aimc_robust.errors import InputError, require_known, require_whole


def weight_limit(weight: Tensor, percentile: float) -> Tensor:
    """The weight that is mapped to the end of the window: a scalar, in units of the weight.

    percentile 1: max|W|. percentile p < 1: max(|q_p|, |q_(1-p)|), q the linearly interpolated quantile of all
    entries; larger weights are clipped. Source: CrossSim 3.2, weight percentile scaling.
    """
    if percentile >= 1.0:
        return weight.abs().max()
    values = weight.flatten()
    return torch.maximum(_quantile(values, percentile).abs(), _quantile(values, 1.0 - percentile).abs())


def column_limits(matrix: Tensor, percentile: float) -> Tensor:
    """`weight_limit` of every output by itself: matrix (outputs, inputs) -> (outputs, 1), in units of the weight."""
    if percentile >= 1.0:
        return torch.linalg.vector_norm(matrix, ord=torch.inf, dim=1, keepdim=True)
    points = torch.tensor([percentile, 1.0 - percentile], dtype=matrix.dtype, device=matrix.device)
    return torch.quantile(matrix, points, dim=1, keepdim=True).abs().amax(dim=0)


def _quantile(values: Tensor, p: float) -> Tensor:
    # torch.quantile refuses more than 2**24 elements and sorts them all; kthvalue does neither.
    position = p * (values.numel() - 1)
    below = int(position)
    low = values.kthvalue(below + 1).values
    high = values.kthvalue(min(below + 2, values.numel())).values
    return torch.lerp(low, high, position - below)


def quantised(g: Tensor, g_min: float, cell_bits: int) -> Tensor:
    """g rounded to the nearest of 2**cell_bits equally spaced levels on [g_min, 1], ties to even; 0 bits: as it is."""
    if cell_bits == 0:
        return g
    steps = 2**cell_bits - 1
    return g.sub(g_min).mul_(steps / (1.0 - g_min)).round_().mul_((1.0 - g_min) / steps).add_(g_min)


class WeightMapping(ABC):
    """How one weight becomes the states of its devices.

    signs: +1 or -1 for each device, bank after bank; a bank has `len(signs) // banks` devices.
    """

    signs: tuple[float, ...]
    banks: int = 1

    @abstractmethod
    def to_states(self, u: Tensor, g_min: float, cell_bits: int) -> Iterator[Tensor]:
        """The target states g, a tensor of u's shape for each device in the order of `signs`, made one by one."""

    @abstractmethod
    def factors(self, g_min: float, cell_bits: int) -> tuple[tuple[float, ...], float]:
        """(factor of each bank, offset): u = sum over banks of factor * (signed sum of its g) + offset."""

    def to_weights(self, states: Iterator[Tensor] | tuple[Tensor, ...], g_min: float, cell_bits: int) -> Tensor:
        """The normalised weight u that the states stand for."""
        factors, offset = self.factors(g_min, cell_bits)
        per_bank = len(self.signs) // self.banks
        u: Tensor | None = None
        for device, (g, sign) in enumerate(zip(states, self.signs, strict=True)):
            factor = sign * factors[device // per_bank]
            u = g.mul(factor) if u is None else u.add_(g, alpha=factor)
        assert u is not None
        return u.add_(offset) if offset else u


class _Pair(WeightMapping):
    """Two devices, u = (g_plus - g_minus) / (1 - g_min)."""

    signs = (1.0, -1.0)

    def factors(self, g_min: float, cell_bits: int) -> tuple[tuple[float, ...], float]:
        return (1.0 / (1.0 - g_min),), 0.0


class OneSided(_Pair):
    """The device of the weight's sign carries |u|, the other rests at g_min (CrossSim: BALANCED, ONE_SIDED)."""

    def to_states(self, u: Tensor, g_min: float, cell_bits: int) -> Iterator[Tensor]:
        yield quantised(u.clamp(min=0.0).mul_(1.0 - g_min).add_(g_min), g_min, cell_bits)
        yield quantised(u.clamp(max=0.0).mul_(g_min - 1.0).add_(g_min), g_min, cell_bits)


class TwoSided(_Pair):
    """Both devices move around the middle of the window (CrossSim: BALANCED, TWO_SIDED)."""

    def to_states(self, u: Tensor, g_min: float, cell_bits: int) -> Iterator[Tensor]:
        half = (1.0 - g_min) / 2.0
        yield quantised(u.mul(half).add_(half + g_min), g_min, cell_bits)
        yield quantised(u.mul(-half).add_(half + g_min), g_min, cell_bits)


class Offset(WeightMapping):
    """One device; zero is a state in the middle of the range, subtracted digitally (CrossSim: OFFSET).

    With b cell bits the range is (2^b - 2) / (2^b - 1) of the window, so that zero is a level. The same range
    serves reading back; CrossSim's multiply uses the whole window there and is off by that factor.
    """

    signs = (1.0,)

    @staticmethod
    def _range(g_min: float, cell_bits: int) -> float:
        return (1.0 - g_min) * ((2**cell_bits - 2) / (2**cell_bits - 1) if cell_bits else 1.0)

    def to_states(self, u: Tensor, g_min: float, cell_bits: int) -> Iterator[Tensor]:
        span = self._range(g_min, cell_bits)
        yield quantised(u.add(1.0).mul_(span / 2.0).add_(1.0 - span), g_min, cell_bits)

    def factors(self, g_min: float, cell_bits: int) -> tuple[tuple[float, ...], float]:
        span = self._range(g_min, cell_bits)
        return (2.0 / span,), -2.0 * (1.0 - span) / span - 1.0


@dataclass(frozen=True)
class BitSliced(WeightMapping):
    """The digits of a whole-number weight, each on its own one-sided pair (CrossSim: BITSLICED, BALANCED).

    n = round(u (2^(B-1) - 1)) with B `weight_bits`; |n| in base 2^k, k = B / S where that is whole, else
    ceil((B - 1) / S), S `slices`; slice i holds digit i / (2^k - 1) on the device of n's sign, least significant first.
    """

    weight_bits: int = 8
    slices: int = 2

    def __post_init__(self) -> None:
        require_whole("weight_bits of a bit-sliced mapping", self.weight_bits, low=2, high=24)
        require_whole("slices of a bit-sliced mapping", self.slices, low=1, high=self.weight_bits - 1)
        if self.bits_per_slice * (self.slices - 1) >= self.weight_bits - 1:
            raise InputError(
                f"{self.weight_bits} weight bits in {self.slices} slices leave the last slice empty; use fewer slices."
            )

    @property
    def bits_per_slice(self) -> int:
        """k: bits that one device holds."""
        if self.weight_bits % self.slices == 0:
            return self.weight_bits // self.slices
        return -(-(self.weight_bits - 1) // self.slices)

    @property
    def banks(self) -> int:  # type: ignore[override]
        return self.slices

    @property
    def signs(self) -> tuple[float, ...]:  # type: ignore[override]
        return (1.0, -1.0) * self.slices

    def to_states(self, u: Tensor, g_min: float, cell_bits: int) -> Iterator[Tensor]:
        code = u.mul(2 ** (self.weight_bits - 1) - 1).round_()
        magnitude, base = code.abs(), 2.0**self.bits_per_slice
        for _ in range(self.slices):
            digit = torch.remainder(magnitude, base)
            magnitude = magnitude.sub_(digit).div_(base)
            g = digit.mul_((1.0 - g_min) / (base - 1.0))
            yield quantised(torch.where(code >= 0, g, 0.0).add_(g_min), g_min, cell_bits)
            yield quantised(torch.where(code < 0, g, 0.0).add_(g_min), g_min, cell_bits)

    def factors(self, g_min: float, cell_bits: int) -> tuple[tuple[float, ...], float]:
        k, top = self.bits_per_slice, 2 ** (self.weight_bits - 1) - 1
        return tuple(2.0 ** (k * i) * (2**k - 1) / top / (1.0 - g_min) for i in range(self.slices)), 0.0


MAPPINGS: dict[str, WeightMapping] = {
    "one-sided": OneSided(),
    "two-sided": TwoSided(),
    "offset": Offset(),
    "bit-sliced": BitSliced(),
}


def find_mapping(mapping: str | WeightMapping) -> WeightMapping:
    """A mapping by its name, or itself. Raises UnknownNameError for a name that is not one of MAPPINGS."""
    if isinstance(mapping, WeightMapping):
        return mapping
    require_known("mapping", mapping, MAPPINGS)
    return MAPPINGS[mapping]
