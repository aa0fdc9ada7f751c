"""Cells followed over time, and the exponent of the power law along each."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from aimc_robust.fitting.points import Points
from aimc_robust.fitting.read_noise import ReadNoise, read_variance

MIN_RELATIVE_STATE = 1e-9  # of the largest: a smaller state counts as 0, whose logarithm is meaningless


class Trajectories(NamedTuple):
    """States of cells over time.

    Attributes:
        state_ln: ln of the state (cells, times).
        variance: Variance of `state_ln` due to read noise (cells, times).
        present: Whether there is a measurement (cells, times).
        target: Targets (cells,) [unit].
        time_s: Times since the earliest (times,) [s].
    """

    state_ln: np.ndarray
    variance: np.ndarray
    present: np.ndarray
    target: np.ndarray
    time_s: np.ndarray


class CellRegressions(NamedTuple):
    """Weighted regression of ln state over ln((t + t0_s) / t0_s) for each cell, arrays (cells,).

    Attributes:
        slope: Slope, the negative exponent.
        variance: Variance of the slope.
        residual: Weighted sum of squared residuals.
        freedom: Degrees of freedom of the residuals.
    """

    slope: np.ndarray
    variance: np.ndarray
    residual: np.ndarray
    freedom: np.ndarray


def trajectories(points: Points, read_noise: ReadNoise | None) -> Trajectories:
    """The cells with a positive state at the earliest time and at one later time or more."""
    known = read_variance(points, read_noise)
    positive = (points.state > MIN_RELATIVE_STATE * points.state.max()) & (points.target > 0)
    cells, row = np.unique(points.cell[positive], return_inverse=True)
    shape = (len(cells), len(points.times_s))
    state_ln, variance, present = np.zeros(shape), np.zeros(shape), np.zeros(shape, dtype=bool)
    target = np.zeros(len(cells))
    index = (row.ravel(), points.group[positive])
    state_ln[index] = np.log(points.state[positive])
    variance[index] = known[positive] / points.state[positive] ** 2
    present[index] = True
    target[index[0]] = points.target[positive]
    followed = present[:, 0] & (present.sum(axis=1) > 1)
    time_s = points.times_s - points.times_s[0]
    return Trajectories(state_ln[followed], variance[followed], present[followed], target[followed], time_s)


def exponents(cells: Trajectories, t0_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Exponent of each cell and its variance.

    Without read noise the variance is that of the residuals, pooled over the cells with three times or more.

    Args:
        cells: The trajectories.
        t0_s: Seconds from the programming pulse to the earliest time.
    """
    fit = regress_cells(cells, t0_s)
    if cells.variance.any():
        return -fit.slope, fit.variance
    pooled = fit.residual.sum() / max(fit.freedom.sum(), 1)
    return -fit.slope, fit.variance * pooled


def regress_cells(cells: Trajectories, t0_s: float) -> CellRegressions:
    """Weighted linear regression of each cell's ln state over ln((t + t0_s) / t0_s)."""
    x = np.log1p(cells.time_s / t0_s)
    variance = np.maximum(cells.variance, 1e-12) if cells.variance.any() else np.ones_like(cells.variance)
    weight = cells.present / variance
    total = weight.sum(axis=1)
    x_mean = (weight * x).sum(axis=1) / total
    y_mean = (weight * cells.state_ln).sum(axis=1) / total
    dx, dy = x - x_mean[:, None], cells.state_ln - y_mean[:, None]
    sxx = (weight * dx**2).sum(axis=1)
    slope = (weight * dx * dy).sum(axis=1) / sxx
    residual = (weight * (dy - slope[:, None] * dx) ** 2).sum(axis=1)
    return CellRegressions(slope, 1.0 / sxx, residual, cells.present.sum(axis=1) - 2)
