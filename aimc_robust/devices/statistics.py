"""What a card says, as pure functions of the state."""

import torch
from torch import Tensor

from aimc_robust.devices.card import Card, NoError, Polynomial, SaturatingExponential


def programming_std(card: Card, state: Tensor) -> Tensor:
    """Standard deviation of the programmed state around its target, never below 0.

    card: the device. state: target states, any shape [card.unit]. Returns the same shape [card.unit].
    Source: the card's own; the formulas are those of `devices.card`.
    """
    match card.programming:
        case NoError():
            return torch.zeros_like(state)
        case Polynomial(coefficients=coefficients):
            std = torch.full_like(state, coefficients[-1])
            for coefficient in reversed(coefficients[:-1]):
                std.mul_(state).add_(coefficient)
        case SaturatingExponential(amplitude=amplitude, constant=constant):
            std = state.div(-constant).expm1_().mul_(-amplitude)
    return std.clamp_(min=0.0)
