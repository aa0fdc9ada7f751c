"""Mean and variance of the state, tabulated once over the targets and interpolated for every cell of a network."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Unpack

import torch
from torch import Tensor

from aimc_robust.devices.cell_model import CellModel
from aimc_robust.devices.moments import Moments, integrated_moments
from aimc_robust.devices.states import StateOptions

INTEGRATED_POINTS, TABLE_POINTS = 129, 2049


@dataclass(frozen=True)
class MomentTable:
    """Mean and standard deviation at target states from `low` to `high`.

    The targets are low + (high - low) sin^2(pi r / 2) for r evenly spaced from 0 to 1: densest at the ends, where
    states are clipped and the moments bend the most.

    Attributes:
        low: First target [cell.unit].
        high: Last target [cell.unit].
        mean: Means (points,) [cell.unit].
        std: Standard deviations (points,) [cell.unit].
    """

    low: float
    high: float
    mean: Tensor
    std: Tensor

    def at(self, target: Tensor) -> Moments:
        """Interpolate linearly.

        Args:
            target: Target states, any shape, from `low` to `high` [cell.unit].

        Returns:
            Moments of the same shape, in the target's dtype, at least float32.
        """
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


def moment_table(
    cell: CellModel, *, span: tuple[float, float] | None = None, **options: Unpack[StateOptions]
) -> MomentTable:
    """Tabulate `integrated_moments`, with a cubic spline between the integrated targets.

    The relative error is 1e-3, and 1e-2 near a kink of a law.

    Args:
        cell: The device.
        span: (first, last) target of the table [cell.unit]; None: the window.
        **options: Time, window and switches, as for `cell_states`.

    Returns:
        The table.

    Raises:
        InputError: As `cell_states`.
    """
    from scipy.interpolate import CubicSpline  # slow to import, and seldom needed

    low, high = span or options.get("window") or cell.window
    coarse, fine = (
        torch.linspace(0.0, 1.0, points, dtype=torch.float64) for points in (INTEGRATED_POINTS, TABLE_POINTS)
    )
    targets = coarse.mul(math.pi / 2).sin().square().mul(high - low).add(low)
    integrated = integrated_moments(cell, targets, **options)
    values = torch.stack([integrated.mean, integrated.variance.sqrt()]).numpy()
    mean, std = torch.from_numpy(CubicSpline(coarse.numpy(), values, axis=1)(fine.numpy()))
    return MomentTable(low, high, mean, std.clamp_(min=0.0))
