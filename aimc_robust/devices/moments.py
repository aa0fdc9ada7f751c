"""Mean and variance of the state over cells: what a card's errors amount to, without a random draw.

Integrated over a grid of the random numbers that `cell_states` asks for, so that every law of a card is covered by the
one implementation that simulates it.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from aimc_robust.devices.card import Card
from aimc_robust.devices.laws import TableDrift
from aimc_robust.devices.states import cell_states

NORMAL_REACH = 5.0  # standard deviations; 2e-5 of the variance lies beyond
NODES_ALONE, NODES_BESIDE_DRIFT, DRIFT_NODES = 513, 129, 97
COARSE, FINE = 129, 2049  # target states: integrated at, and tabled at


class Moments(NamedTuple):
    """Mean and variance, each of the shape asked for, in one unit and its square."""

    mean: Tensor
    variance: Tensor


def integrated_moments(
    card: Card,
    target: Tensor,
    *,
    time_s: float = 0.0,
    window: tuple[float, float] | None = None,
    stuck: tuple[float, float] | None = None,
    **errors: Any,
) -> Moments:
    """Mean and variance of the state over cells `time_s` seconds after programming, integrated for each target.

    E f = sum_k p_k f(xi_k): the trapezoidal rule within 5 standard deviations of a normal number, the midpoints of
    equal shares for a uniform one; error and drift are independent. Stuck cells are mixed in exactly.
    target: (n,) [card.unit]. errors: `error_scale`, `programming`, `drift`. All as for `cell_states`, which raises.
    Returns float64 (n,) [card.unit], [card.unit^2].
    """
    ages_by_itself = card.drift is not None and not isinstance(card.drift, TableDrift)
    drifts = ages_by_itself and time_s > 0 and errors.get("drift", True)
    uniform = card.programming.distribution == "uniform"
    error, error_share = (_uniform if uniform else _normal)(NODES_BESIDE_DRIFT if drifts else NODES_ALONE)
    eta, eta_share = _normal(DRIFT_NODES) if drifts else (torch.zeros(1, dtype=torch.float64), torch.ones(1).double())
    grid = target.double().expand(len(error), len(eta), -1).clone()

    def draw(effect: str, like: Tensor) -> Tensor:
        return (eta.view(1, -1, 1) if effect == "drift" else error.view(-1, 1, 1)).expand_as(like)

    now = cell_states(card, grid, draw, time_s=time_s, window=window, stuck=(0.0, 0.0), **errors).now.flatten(0, 1)
    share = torch.outer(error_share, eta_share).flatten()
    mean = share @ now
    variance = share @ now.sub_(mean).square_()
    if stuck is None:
        stuck = (card.stuck.low, card.stuck.high) if card.stuck is not None else (0.0, 0.0)
    return _with_stuck(Moments(mean, variance), stuck, window or (card.range.min, card.range.max))


@dataclass(frozen=True)
class MomentTable:
    """Mean and standard deviation [card.unit] at `FINE` target states from `low` to `high` [card.unit].

    They are those of r = 0..1, evenly spaced, in low + (high - low) sin^2(pi r / 2): closest at the ends, where
    states are clipped and the moments bend the most.
    """

    low: float
    high: float
    mean: Tensor
    std: Tensor

    def at(self, target: Tensor) -> Moments:
        """Interpolated for each target (any shape, from low to high [card.unit]), in its dtype, at least float32."""
        target = target.to(torch.promote_types(target.dtype, torch.float32))
        last = len(self.mean) - 1
        share = target.sub(self.low).mul_(1.0 / (self.high - self.low)).clamp_(0.0, 1.0)
        place = share.sqrt_().asin_().mul_(2.0 / math.pi * last)
        below = place.long().clamp_(max=last - 1)
        share = place.sub_(below)
        mean, std = (
            torch.lerp(values[below], values[below + 1], share)
            for values in (self.mean.to(target), self.std.to(target))
        )
        return Moments(mean, std.square_())


def moment_table(
    card: Card, *, window: tuple[float, float] | None = None, span: tuple[float, float] | None = None, **settings: Any
) -> MomentTable:
    """`integrated_moments` over the window, or over `span` [card.unit]; made once, it serves every cell of a network.

    Integrated at `COARSE` states, with a cubic spline between them. settings: as for `integrated_moments`.
    """
    from scipy.interpolate import CubicSpline  # slow to import, and seldom needed

    low, high = span or window or (card.range.min, card.range.max)
    coarse, fine = (torch.linspace(0.0, 1.0, points, dtype=torch.float64) for points in (COARSE, FINE))
    states = coarse.mul(math.pi / 2).sin().square().mul(high - low).add(low)
    found = integrated_moments(card, states, window=window, **settings)
    known = torch.stack([found.mean, found.variance.sqrt()]).numpy()
    mean, std = torch.from_numpy(CubicSpline(coarse.numpy(), known, axis=1)(fine.numpy()))
    return MomentTable(low, high, mean, std.clamp_(min=0.0))


def state_moments(card: Card, target: Tensor, *, window: tuple[float, float] | None = None, **settings: Any) -> Moments:
    """Mean and variance over cells of the state of each target, to 1e-3 of themselves; beside a kink of a law to 1e-2.

    target: any shape [card.unit]. window, settings (`time_s`, `stuck`, `error_scale`, `programming`, `drift`): as for
    `cell_states`. Returns the target's shape and dtype, at least float32 [card.unit], [card.unit^2].
    """
    low, high = window or (card.range.min, card.range.max)
    if target.numel():
        low, high = min(low, float(target.min())), max(high, float(target.max()))
    return moment_table(card, window=window, span=(low, high), **settings).at(target)


def _normal(nodes: int) -> tuple[Tensor, Tensor]:
    """(values, shares) of a standard normal number."""
    values = torch.linspace(-NORMAL_REACH, NORMAL_REACH, nodes, dtype=torch.float64)
    return values, torch.softmax(values.square().mul(-0.5), dim=0)


def _uniform(nodes: int) -> tuple[Tensor, Tensor]:
    """(values, shares) of a number uniform on [0, 1)."""
    shares = torch.full((nodes,), 1.0 / nodes, dtype=torch.float64)
    return (torch.arange(nodes, dtype=torch.float64) + 0.5) / nodes, shares


def _with_stuck(free: Moments, stuck: tuple[float, float], bounds: tuple[float, float]) -> Moments:
    """The moments when the fractions `stuck` of cells stay at the ends of the window, whatever is programmed."""
    works = 1.0 - math.fsum(stuck)
    mean = free.mean * works + stuck[0] * bounds[0] + stuck[1] * bounds[1]
    around = free.variance + (free.mean - mean).square()
    apart = [share * (end - mean).square() for share, end in zip(stuck, bounds, strict=True)]
    return Moments(mean, around * works + apart[0] + apart[1])
