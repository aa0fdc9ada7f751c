"""Weights to normalised device states and back: pure functions, after CrossSim 3.2 (BSD-3, sandialabs/cross-sim).

Notation: u = W / w_max in [-1, 1]; g = state / max state in [g_min, 1], with g_min = min / max of the window.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from aimc_robust.errors import require_known


def weight_limit(weight: Tensor, percentile: float) -> Tensor:
    """The weight that is mapped to the end of the window: a scalar, in units of the weight.

    percentile 1: max|W|. percentile p < 1: max(|q_p|, |q_(1-p)|), q the linearly interpolated quantile of all
    entries; larger weights are clipped. Source: CrossSim 3.2, weight percentile scaling.
    """
    if percentile >= 1.0:
        return weight.abs().max()
    values = weight.flatten()
    return torch.maximum(_quantile(values, percentile).abs(), _quantile(values, 1.0 - percentile).abs())


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


class Mapping(ABC):
    """How one weight becomes the states of one or two devices."""

    @abstractmethod
    def to_states(self, u: Tensor, g_min: float, cell_bits: int) -> tuple[Tensor, ...]:
        """The target states g of each weight's devices, one tensor of u's shape for each device."""

    @abstractmethod
    def to_weights(self, states: tuple[Tensor, ...], g_min: float, cell_bits: int) -> Tensor:
        """The normalised weight u that the states stand for."""


class _Pair(Mapping):
    """Two devices, u = (g_plus - g_minus) / (1 - g_min)."""

    def to_weights(self, states: tuple[Tensor, ...], g_min: float, cell_bits: int) -> Tensor:
        plus, minus = states
        return plus.sub(minus).div_(1.0 - g_min)


class OneSided(_Pair):
    """The device of the weight's sign carries |u|, the other rests at g_min (CrossSim: BALANCED, ONE_SIDED)."""

    def to_states(self, u: Tensor, g_min: float, cell_bits: int) -> tuple[Tensor, Tensor]:
        plus = u.clamp(min=0.0).mul_(1.0 - g_min).add_(g_min)
        minus = u.clamp(max=0.0).mul_(g_min - 1.0).add_(g_min)
        return quantised(plus, g_min, cell_bits), quantised(minus, g_min, cell_bits)


class TwoSided(_Pair):
    """Both devices move around the middle of the window (CrossSim: BALANCED, TWO_SIDED)."""

    def to_states(self, u: Tensor, g_min: float, cell_bits: int) -> tuple[Tensor, Tensor]:
        half = (1.0 - g_min) / 2.0
        plus, minus = u.mul(half).add_(half + g_min), u.mul(-half).add_(half + g_min)
        return quantised(plus, g_min, cell_bits), quantised(minus, g_min, cell_bits)


class Offset(Mapping):
    """One device; zero is a state in the middle of the range (CrossSim: OFFSET).

    With b cell bits the range is (2^b - 2) / (2^b - 1) of the window, so that zero is a level. The same range
    serves reading back; CrossSim's multiply uses the whole window there and is off by that factor.
    """

    @staticmethod
    def _range(g_min: float, cell_bits: int) -> float:
        return (1.0 - g_min) * ((2**cell_bits - 2) / (2**cell_bits - 1) if cell_bits else 1.0)

    def to_states(self, u: Tensor, g_min: float, cell_bits: int) -> tuple[Tensor]:
        span = self._range(g_min, cell_bits)
        return (quantised(u.add(1.0).mul_(span / 2.0).add_(1.0 - span), g_min, cell_bits),)

    def to_weights(self, states: tuple[Tensor, ...], g_min: float, cell_bits: int) -> Tensor:
        span = self._range(g_min, cell_bits)
        return states[0].sub(1.0 - span).mul_(2.0 / span).sub_(1.0)


MAPPINGS: dict[str, Mapping] = {"one-sided": OneSided(), "two-sided": TwoSided(), "offset": Offset()}


def check_mapping(mapping: str) -> None:
    """Raise UnknownNameError unless `mapping` is one of MAPPINGS."""
    require_known("mapping", mapping, MAPPINGS)
