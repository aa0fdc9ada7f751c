"""What a card says, as pure functions of the state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from aimc_robust.devices.card import Card
from aimc_robust.devices.laws import Log10OneOverFRead, NoError, OneOverFRead, Polynomial, SaturatingExponential

if TYPE_CHECKING:
    from aimc_robust.devices.states import CellStates


def programming_std(card: Card, state: Tensor) -> Tensor:
    """Standard deviation of the programmed state around its target, never below 0.

    card: the device. state: target states, any shape [card.unit]. Returns the same shape [card.unit].
    Source: the card's own; the formulas are those of `devices.kinds`.
    """
    return torch.zeros_like(state) if isinstance(card.programming, NoError) else std_of(card.programming, state)


def has_read_noise(card: Card) -> bool:
    """Whether the card's device reads differently at each multiply."""
    return card.read is not None


def read_std(card: Card, states: CellStates, *, time_s: float = 0.0) -> Tensor:
    """Standard deviation of the state that one multiply reads, around the present state, never below 0.

    The noise is Gaussian, redrawn at each multiply, and independent from read to read.
    card: the device. states: from `cell_states`, any shape [card.unit]. time_s: that of these states [s].
    Returns the same shape [card.unit], zeros for a card without read noise.
    Source: the card's own; the formulas are those of `devices.kinds`.
    """
    match card.read:
        case None:
            return torch.zeros_like(states.now)
        case OneOverFRead() as law:
            growth = _one_over_f_growth(time_s + law.t0_s, law.t_read_s)
            relative = states.programmed.div(law.reference).pow_(-law.exponent).mul_(law.q).clamp_(max=law.q_max)
            return relative.mul_(states.now).mul_(growth).clamp_(min=0.0)
        case Log10OneOverFRead() as law:
            growth = _one_over_f_growth(time_s + law.t0_s, law.t_read_s)
            # log10(0) * 0 would be NaN: the floor comes first.
            return states.now.log10().clamp_(min=0.0).mul_(law.coefficient * growth)
        case law:
            return std_of(law, states.now)


def std_of(law: Polynomial | SaturatingExponential, state: Tensor) -> Tensor:
    """The standard deviation that `law` gives at `state` (any shape [card.unit]), never below 0 [card.unit]."""
    match law:
        case Polynomial(coefficients=coefficients, reference=reference):
            std = polynomial([c / reference**power for power, c in enumerate(coefficients)], state)
        case SaturatingExponential(amplitude=amplitude, constant=constant):
            std = state.div(-constant).expm1_().mul_(-amplitude)
    return std.clamp_(min=0.0)


def polynomial(coefficients: Sequence[float], state: Tensor) -> Tensor:
    """sum_i coefficients[i] * state**i by Horner's rule, one new tensor."""
    value = torch.full_like(state, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        value.mul_(state).add_(coefficient)
    return value


def _one_over_f_growth(time_s: float, t_read_s: float) -> float:
    """sqrt(ln((t + t_read) / (2 t_read))), 0 where the time is shorter than one read."""
    return math.sqrt(max(math.log((time_s + t_read_s) / (2.0 * t_read_s)), 0.0))
