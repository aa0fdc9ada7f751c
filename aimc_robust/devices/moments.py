"""Mean and variance of the state over cells, without random draws: integrated, and tabulated over the targets."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, Unpack

import torch
from torch import Tensor

from aimc_robust.devices.cell_model import CellModel
from aimc_robust.devices.cells import Draw
from aimc_robust.devices.states import StateOptions, cell_states

NORMAL_REACH = 5.0  # standard deviations; 2e-5 of the variance lies beyond
INTEGRATED_POINTS, TABLE_POINTS = 129, 2049
HALF_GAUSS = 0.5 / math.sqrt(3.0)  # distance of Gauss' two points from the middle of an interval of length 1
NODES_WITHOUT_DRIFT, NODES_WITH_DRIFT, DRIFT_NODES = 513, 129, 97


class Moments(NamedTuple):
    """Mean and variance, of one shape; the variance is in the square of the mean's unit."""

    mean: Tensor
    variance: Tensor


def integrated_moments(cell: CellModel, target: Tensor, **options: Unpack[StateOptions]) -> Moments:
    """Mean [cell.unit] and variance of the state over cells for each target (n,), in float64.

    Integrated over a grid of the random numbers that `cell_states` draws, so that every law is covered by the one
    implementation that simulates it. E f = sum_k p_k f(xi_k): the trapezoidal rule within 5 standard deviations for a
    normal number; for a uniform one Gauss' rule of two points, exact for an error that is linear in it. Programming
    error and drift are independent. Stuck cells are mixed in exactly. Options (time, window, switches) and errors are
    those of `cell_states`.
    """
    drift_is_drawn = cell.drift_is_random and options.get("time_s", 0.0) > 0 and options.get("drift", True)
    nodes = NODES_WITH_DRIFT if drift_is_drawn else NODES_WITHOUT_DRIFT
    is_normal = cell.programming_distribution == "normal"
    error, error_weights = _normal(nodes) if is_normal else _uniform(nodes, cell.programming_knots)
    eta, eta_weights = torch.zeros(1, dtype=torch.float64), torch.ones(1).double()
    if drift_is_drawn:
        eta, eta_weights = _normal(DRIFT_NODES)
    grid = target.double().expand(len(error), len(eta), -1).clone()
    unstuck: StateOptions = {**options, "stuck": (0.0, 0.0)}
    now = cell_states(cell, grid, _draw_nodes(error, eta), **unstuck).now.flatten(0, 1)
    weights = torch.outer(error_weights, eta_weights).flatten()
    mean = weights @ now
    variance = weights @ now.sub_(mean).square_()
    stuck, window = options.get("stuck"), options.get("window")
    return _with_stuck(Moments(mean, variance), cell.stuck_fractions if stuck is None else stuck, window or cell.window)


def _draw_nodes(error: Tensor, eta: Tensor) -> Draw:
    """The nodes in place of random numbers, for states of shape (errors, etas, n)."""

    def draw(effect: str, like: Tensor) -> Tensor:
        return (eta.view(1, -1, 1) if effect == "drift" else error.view(-1, 1, 1)).expand_as(like)

    return draw


def _normal(nodes: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights of a standard normal number."""
    values = torch.linspace(-NORMAL_REACH, NORMAL_REACH, nodes, dtype=torch.float64)
    return values, torch.softmax(values.square().mul(-0.5), dim=0)


def _uniform(nodes: int, knots: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """Nodes and weights of a number uniform on [0, 1): two points in each of equal parts of each piece of the knots."""
    edges = torch.tensor(knots, dtype=torch.float64)
    parts = max(1, nodes // (2 * (len(knots) - 1)))
    width = edges.diff().div(parts).repeat_interleave(parts)
    middle = width.cumsum(0) - width / 2.0
    points = torch.cat([middle - width * HALF_GAUSS, middle + width * HALF_GAUSS])
    return points, torch.cat([width, width]) / 2.0


def _with_stuck(free: Moments, stuck: tuple[float, float], bounds: tuple[float, float]) -> Moments:
    """Moments if the fractions `stuck` of cells stay at the ends of the window, whatever is programmed."""
    working = 1.0 - math.fsum(stuck)
    mean = free.mean * working + stuck[0] * bounds[0] + stuck[1] * bounds[1]
    around_mean = free.variance + (free.mean - mean).square()
    at_ends = [fraction * (end - mean).square() for fraction, end in zip(stuck, bounds, strict=True)]
    return Moments(mean, around_mean * working + at_ends[0] + at_ends[1])


@dataclass(frozen=True)
class MomentTable:
    """Mean and standard deviation (points,) at target states from `low` to `high`, all in the cell's unit.

    The targets are low + (high - low) sin^2(pi r / 2) for r evenly spaced from 0 to 1: densest at the ends, where
    states are clipped and the moments bend the most.
    """

    low: float
    high: float
    mean: Tensor
    std: Tensor

    def at(self, target: Tensor) -> Moments:
        """Interpolate at targets of any shape from `low` to `high`; in their dtype, at least float32."""
        target = target.to(torch.promote_types(target.dtype, torch.float32))
        last = len(self.mean) - 1
        fraction = target.sub(self.low).mul_(1.0 / (self.high - self.low)).clamp_(0.0, 1.0)
        position = fraction.sqrt_().asin_().mul_(2.0 / math.pi * last)
        below = position.long().clamp_(max=last - 1)
        fraction = position.sub_(below)
        mean, std = (
            torch.lerp(values[below], values[below + 1], fraction)
            for values in (self.mean.to(target), self.std.to(target))
        )
        return Moments(mean, std.square_())


def moment_table(cell: CellModel, **options: Unpack[StateOptions]) -> MomentTable:
    """Tabulate `integrated_moments` over the window, with options as for `cell_states`.

    A cubic spline joins the integrated targets. The relative error is 1e-3, and 1e-2 near a kink of a law.
    """
    from scipy.interpolate import CubicSpline  # slow to import, and seldom needed

    low, high = options.get("window") or cell.window
    coarse, fine = (
        torch.linspace(0.0, 1.0, points, dtype=torch.float64) for points in (INTEGRATED_POINTS, TABLE_POINTS)
    )
    targets = coarse.mul(math.pi / 2).sin().square().mul(high - low).add(low)
    integrated = integrated_moments(cell, targets, **options)
    values = torch.stack([integrated.mean, integrated.variance.sqrt()]).numpy()
    mean, std = torch.from_numpy(CubicSpline(coarse.numpy(), values, axis=1)(fine.numpy()))
    return MomentTable(low, high, mean, std.clamp_(min=0.0))
