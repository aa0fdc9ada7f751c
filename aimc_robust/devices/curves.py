"""What a card predicts, as curves to print and to draw: no random draw, the same numbers each time."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from aimc_robust.devices.card import Card
from aimc_robust.devices.limits import DAY_S, YEAR_S
from aimc_robust.devices.moments import integrated_moments
from aimc_robust.devices.states import cell_states
from aimc_robust.devices.std import programming_std, read_std

SHARES = (0.1, 0.5, 1.0)  # of the window: the targets whose ageing is shown


class Curve(NamedTuple):
    """A standard deviation (points) over target states (points), both [card.unit]."""

    state: Tensor
    std: Tensor


class Ageing(NamedTuple):
    """Mean and standard deviation (times, targets) of the state over time, all [card.unit]."""

    targets: Tensor
    times_s: list[float]
    mean: Tensor
    std: Tensor


def programming_curve(card: Card, points: int) -> Curve:
    """sigma of the programming error over the card's window."""
    state = _window(card, points)
    return Curve(state, programming_std(card, state))


def read_curve(card: Card, points: int, *, time_s: float) -> Curve:
    """sigma of one read at `time_s` [s] over the target state, for a cell in the middle of its distribution."""
    state = _window(card, points)
    states = cell_states(card, state, _middle, time_s=time_s, stuck=(0.0, 0.0))
    return Curve(state, read_std(card, states, time_s=time_s))


def read_times_s(card: Card) -> list[float]:
    """The times [s] at which read noise is worth showing: one, where it depends on the present state only."""
    if not hasattr(card.read, "t_read_s"):
        return [0.0]
    last = card.drift.limits_s[1] if card.drift is not None else DAY_S
    return sorted({1.0, min(DAY_S, last), last})


def ageing(card: Card, times_s: Sequence[float]) -> Ageing:
    """Mean and standard deviation over cells of the state at each time [s], for three targets of the window."""
    low, high = card.range.min, card.range.max
    targets = torch.tensor([low + share * (high - low) for share in SHARES], dtype=torch.float64)
    found = [integrated_moments(card, targets, time_s=t, stuck=(0.0, 0.0)) for t in times_s]
    mean, variance = (torch.stack(values) for values in zip(*found, strict=True))
    return Ageing(targets, list(times_s), mean, variance.sqrt())


def round_times_s(card: Card) -> list[float]:
    """Time 0 and round times [s] within the limits of the card's drift, for a table."""
    last = card.drift.limits_s[1]
    marks = [1.0, 60.0, 3600.0, DAY_S, 2 * DAY_S, 5 * DAY_S, 30 * DAY_S, YEAR_S, 10 * YEAR_S]
    return [0.0, *[t for t in marks if t <= last]] + ([last] if last not in marks else [])


def smooth_times_s(card: Card, points: int) -> list[float]:
    """Times [s] evenly spaced in their logarithm, from 1 s (or less, for a shorter table) to the drift's limit."""
    last = card.drift.limits_s[1]
    first = min(1.0, last / 1000.0)
    return [last * (first / last) ** (1.0 - i / (points - 1)) for i in range(points)]


def _window(card: Card, points: int) -> Tensor:
    return torch.linspace(card.range.min, card.range.max, points, dtype=torch.float64)


def _middle(effect: str, like: Tensor) -> Tensor:
    return torch.full_like(like, 0.5 if effect == "programming-uniform" else 0.0)
