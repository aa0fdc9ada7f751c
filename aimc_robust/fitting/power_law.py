"""Fit drift by a power law to trajectories of cells."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar

from aimc_robust.devices.laws.power_law_drift import PowerLawDrift
from aimc_robust.fitting.card_draft import DriftFit
from aimc_robust.fitting.exponent_laws import fit_exponent_laws
from aimc_robust.fitting.points import Points
from aimc_robust.fitting.read_noise import ReadNoise, read_variance
from aimc_robust.fitting.std_fit import FittedLaws
from aimc_robust.fitting.std_laws import rounded

MIN_TRAJECTORIES = 30
MIN_RELATIVE_STATE = 1e-9  # of the largest: a smaller state counts as 0, whose logarithm is meaningless
HALF_CHI2_95 = 1.92  # half the 95 % quantile of chi^2 with one degree of freedom


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

    `slope` is the negative exponent; `residual` the weighted sum of squares, with `freedom` degrees of freedom.
    """

    slope: np.ndarray
    variance: np.ndarray
    residual: np.ndarray
    freedom: np.ndarray


def fit_power_law(
    points: Points, read_noise: ReadNoise | None, programming: FittedLaws, *, reference: float, t0_s: float | None
) -> DriftFit | str:
    """Fit state(t) = state at the earliest time * ((t + t0_s) / t0_s)^-nu, t from the earliest time.

    nu is normal over cells. Its mean and standard deviation are constants, lines, or lines between two bounds over
    ln(target / reference), selected by BIC. `t0_s` counts from the programming pulse to the earliest time. None: the
    earliest time itself, or the maximum of the likelihood if that time is 0 or trajectories of three times or more
    contradict it.

    Returns:
        The fit, or the reason why there is none.

    References:
        S. R. Nandakumar et al., Phase-change memory models for deep learning training and inference, ICECS 2019.
    """
    cells = _trajectories(points, read_noise)
    if len(cells.target) < MIN_TRAJECTORIES:
        return (
            f"a power law needs {MIN_TRAJECTORIES} cells of positive state that the column device follows over "
            f"time, got {len(cells.target)}"
        )
    fitted_t0_s, origin = (t0_s, "as given") if t0_s is not None else _find_t0_s(cells, float(points.times_s[0]))
    nu, error = _exponents(cells, fitted_t0_s)
    if nu.mean() <= 0:
        return "states do not fall over time on average, so there is no power law"
    mean, std, parameters = fit_exponent_laws(nu, error, np.log(cells.target / reference))
    law = PowerLawDrift(
        kind="power-law",
        limits_s=rounded((0.0, float(cells.time_s[-1]))),
        t0_s=rounded(fitted_t0_s),
        reference=reference,
        exponent_mean=mean,
        exponent_std=std,
    )
    summary = f"power law of {len(nu)} cells, t0_s = {fitted_t0_s:.4g} s {origin}, mean exponent {nu.mean():.4f}"
    return DriftFit(law, programming, parameters + (t0_s is None), float(points.times_s[0]), summary)


def _trajectories(points: Points, read_noise: ReadNoise | None) -> Trajectories:
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


def _find_t0_s(cells: Trajectories, earliest_s: float) -> tuple[float, str]:
    """t0_s that makes the trajectories straightest, and how it was found."""
    first_later = float(cells.time_s[1])
    if cells.present.sum(axis=1).max() < 3:
        return (earliest_s, "(the earliest time)") if earliest_s > 0 else (first_later / 10.0, "(two times: arbitrary)")
    variance_known = cells.variance.any()

    def cost(t0_ln: float) -> float:
        """-log likelihood of the residuals, maximized over the exponents, and over the variance if it is unknown."""
        fit = _regress_cells(cells, float(np.exp(t0_ln)))
        tested = fit.freedom > 0
        if variance_known:
            return float(0.5 * fit.residual[tested].sum())
        return float(0.5 * fit.freedom[tested].sum() * np.log(max(fit.residual[tested].sum(), 1e-300)))

    grid = np.linspace(np.log(first_later / 1e3), np.log(cells.time_s[-1]), 40)
    start = int(np.argmin([cost(t0_ln) for t0_ln in grid]))
    low, high = grid[max(start - 1, 0)], grid[min(start + 1, len(grid) - 1)]
    best = minimize_scalar(cost, bounds=(low, high), method="bounded")
    if earliest_s > 0 and cost(float(np.log(earliest_s))) - best.fun < HALF_CHI2_95:
        return earliest_s, "(the earliest time)"
    return float(np.exp(best.x)), "(fitted)"


def _exponents(cells: Trajectories, t0_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Exponent of each cell and its variance.

    Without read noise the variance is that of the residuals, pooled over the cells with three times or more.
    """
    fit = _regress_cells(cells, t0_s)
    if cells.variance.any():
        return -fit.slope, fit.variance
    pooled = fit.residual.sum() / max(fit.freedom.sum(), 1)
    return -fit.slope, fit.variance * pooled


def _regress_cells(cells: Trajectories, t0_s: float) -> CellRegressions:
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
