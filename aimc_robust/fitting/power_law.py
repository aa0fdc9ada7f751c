"""Drift by a power law, fitted to trajectories: an exponent for each cell, then their mean and spread over the target.

Source of the law: S. R. Nandakumar et al., Phase-change memory models for deep learning training and inference, ICECS
2019.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize, minimize_scalar

from aimc_robust.devices.laws.power_law_drift import ClippedLog, PowerLawDrift
from aimc_robust.fitting.drift import Ageing
from aimc_robust.fitting.laws import Choice, round_value
from aimc_robust.fitting.points import Points
from aimc_robust.fitting.programming import ReadNoise, known_variance

FEWEST_TRAJECTORIES = 30
POINTS_PER_KNOT = 12
LEAST_STATE = 1e-9  # of the largest: below it a state counts as 0, whose logarithm says nothing
KNOTS = ((0.05, 0.3), (0.1, 0.6), (0.3, 0.9), (0.05, 0.15))  # quantiles of the targets to start from
HALF_CHI2_95 = 1.92  # half the 95 % quantile of chi^2 with one degree of freedom


class Trajectories(NamedTuple):
    """Cells followed over time, in lines: ln state (n, times), its variance from read noise, whether there is one, and
    the cells' targets (n,) [unit]. Times from the earliest [s]."""

    state_ln: np.ndarray
    variance: np.ndarray
    there: np.ndarray
    target: np.ndarray
    time_s: np.ndarray


def fit_power_law(
    points: Points, read: ReadNoise | None, programming: Choice, *, reference: float, t0_s: float | None = None
) -> Ageing | str:
    """state(t) = state at the earliest time * ((t + t0_s) / t0_s)^-nu, t from the earliest time, nu normal over cells.

    t0_s: from the programming pulse to the earliest time [s]; None: the earliest time itself, unless the trajectories
    (three times or more) contradict it, or it is 0: then their likelihood's maximum. The exponents' mean and standard
    deviation are constants, lines, or lines between two bounds over ln(target / reference), whichever has the lowest
    BIC. Returns the fit, or why there is none.
    """
    lines = trajectories(points, read)
    if len(lines.target) < FEWEST_TRAJECTORIES:
        return (
            f"a power law needs {FEWEST_TRAJECTORIES} cells of positive state that the column device follows over "
            f"time, got {len(lines.target)}"
        )
    found_t0_s, how = (t0_s, "as given") if t0_s is not None else _start_s(lines, float(points.times_s[0]))
    nu, error = exponents(lines, found_t0_s)
    if nu.mean() <= 0:
        return "states do not fall over time on average, so there is no power law"
    x_ln = np.log(lines.target / reference)
    mean, std, parameters = _exponent_laws(nu, error, x_ln)
    law = PowerLawDrift(
        kind="power-law",
        limits_s=(0.0, round_value(float(lines.time_s[-1]))),
        t0_s=round_value(found_t0_s),
        reference=reference,
        exponent_mean=mean,
        exponent_std=std,
    )
    text = f"power law of {len(nu)} cells, t0_s = {found_t0_s:.4g} s {how}, mean exponent {nu.mean():.4f}"
    return Ageing(law, programming, parameters + (t0_s is None), float(points.times_s[0]), text)


def trajectories(points: Points, read: ReadNoise | None) -> Trajectories:
    """The cells with a positive state at the earliest time and at one or more later."""
    known = known_variance(points, read)
    positive = (points.state > LEAST_STATE * points.state.max()) & (points.target > 0)
    cells, line = np.unique(points.cell[positive], return_inverse=True)
    shape = (len(cells), len(points.times_s))
    state_ln, variance, there = np.zeros(shape), np.zeros(shape), np.zeros(shape, dtype=bool)
    target = np.zeros(len(cells))
    where = (line.ravel(), points.group[positive])
    state_ln[where] = np.log(points.state[positive])
    variance[where] = known[positive] / points.state[positive] ** 2
    there[where] = True
    target[where[0]] = points.target[positive]
    kept = there[:, 0] & (there.sum(axis=1) > 1)
    time_s = points.times_s - points.times_s[0]
    return Trajectories(state_ln[kept], variance[kept], there[kept], target[kept], time_s)


def exponents(lines: Trajectories, t0_s: float) -> tuple[np.ndarray, np.ndarray]:
    """(exponent, its variance) of each cell: a straight line through ln state over ln((t + t0_s) / t0_s), weighted.

    Without read noise the variance is that of the residuals, pooled over the cells with three times or more.
    """
    slope, spread, residual, freedom = _lines(lines, t0_s)
    if lines.variance.any():
        return -slope, spread
    pooled = residual.sum() / max(freedom.sum(), 1)
    return -slope, spread * pooled


def _lines(lines: Trajectories, t0_s: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Weighted regression of each cell: slope, its variance, weighted squared residuals, degrees of freedom."""
    x = np.log1p(lines.time_s / t0_s)
    variance = np.maximum(lines.variance, 1e-12) if lines.variance.any() else np.ones_like(lines.variance)
    weight = lines.there / variance
    total = weight.sum(axis=1)
    x_mean = (weight * x).sum(axis=1) / total
    y_mean = (weight * lines.state_ln).sum(axis=1) / total
    dx, dy = x - x_mean[:, None], lines.state_ln - y_mean[:, None]
    sxx = (weight * dx**2).sum(axis=1)
    slope = (weight * dx * dy).sum(axis=1) / sxx
    residual = (weight * (dy - slope[:, None] * dx) ** 2).sum(axis=1)
    return slope, 1.0 / sxx, residual, lines.there.sum(axis=1) - 2


def _start_s(lines: Trajectories, earliest_s: float) -> tuple[float, str]:
    """(t0_s, how it was found): by how straight the trajectories are."""
    first_later = float(lines.time_s[1])
    if lines.there.sum(axis=1).max() < 3:
        return (earliest_s, "(the earliest time)") if earliest_s > 0 else (first_later / 10.0, "(two times: arbitrary)")
    known = lines.variance.any()

    def cost(t0_ln: float) -> float:
        """-log likelihood of the residuals, the exponents and the variance (where it is not known) at their best."""
        residual, freedom = _lines(lines, float(np.exp(t0_ln)))[2:]
        kept = freedom > 0
        if known:
            return 0.5 * residual[kept].sum()
        return 0.5 * freedom[kept].sum() * np.log(max(residual[kept].sum(), 1e-300))

    grid = np.linspace(np.log(first_later / 1e3), np.log(lines.time_s[-1]), 40)
    start = int(np.argmin([cost(t0_ln) for t0_ln in grid]))
    low, high = grid[max(start - 1, 0)], grid[min(start + 1, len(grid) - 1)]
    best = minimize_scalar(cost, bounds=(low, high), method="bounded")
    if earliest_s > 0 and cost(float(np.log(earliest_s))) - best.fun < HALF_CHI2_95:
        return earliest_s, "(the earliest time)"
    return float(np.exp(best.x)), "(fitted)"


def _exponent_laws(nu: np.ndarray, error: np.ndarray, x_ln: np.ndarray) -> tuple[ClippedLog, ClippedLog, int]:
    """The laws of mean and standard deviation, and their number of parameters, by BIC.

    Each is a line between two knots of ln(target / reference), flat outside: (value, value, knot, knot). The density
    of |N(m, s^2)| with an error e of estimation: N(nu; m, s^2 + e) + N(nu; -m, s^2 + e).
    """
    low, high = float(x_ln.min()), float(x_ln.max())
    ends = (low, high)
    spread = np.sqrt(max(float(nu.var() - error.mean()), (0.05 * nu.std()) ** 2))
    typical = abs(float(nu.mean()))

    def laws(p: np.ndarray, form: str) -> tuple[np.ndarray, np.ndarray]:
        """(value, value, knot, knot) of mean and of standard deviation from free parameters; ln of all values."""
        if form == "constant":
            return np.array([np.exp(p[0])] * 2 + [*ends]), np.array([np.exp(p[1])] * 2 + [*ends])
        knots = [ends, ends] if form == "line" else [np.clip(np.sort(p[4:6]), *ends), np.clip(np.sort(p[6:8]), *ends)]
        return np.array([*np.exp(p[:2]), *knots[0]]), np.array([*np.exp(p[2:4]), *knots[1]])

    def cost(p: np.ndarray, form: str) -> float:
        mean, std = (_between(values, x_ln) for values in laws(p, form))
        variance = std**2 + error
        near, far = ((nu - sign * mean) ** 2 / variance for sign in (1.0, -1.0))
        return float(0.5 * np.sum(np.log(variance)) - np.logaddexp(-0.5 * near, -0.5 * far).sum())

    starts: dict[str, list[np.ndarray]] = {"constant": [np.log([typical, spread])]}
    starts["line"] = [np.log([typical, typical, spread, spread])]
    if len(np.unique(x_ln)) >= 6 and len(nu) >= 8 * POINTS_PER_KNOT:
        starts["bounded"] = [_bounded_start(nu, error, x_ln, q) for q in KNOTS]
    found = []
    for form, begin in starts.items():
        tries = [minimize(cost, start, args=(form,), method="L-BFGS-B") for start in begin]
        best = min(tries, key=lambda r: r.fun)
        found.append((2.0 * best.fun + len(best.x) * np.log(len(nu)), best.x, form))
    _, p, form = min(found, key=lambda item: item[0])
    mean, std = (_as_clipped_log(values) for values in laws(p, form))
    return mean, std, len(p)


def _bounded_start(nu: np.ndarray, error: np.ndarray, x_ln: np.ndarray, quantiles: tuple[float, float]) -> np.ndarray:
    """Parameters with knots at two quantiles of x_ln: the values are those of the cells below and above."""
    knots = np.quantile(x_ln, quantiles)
    sides = [x_ln <= knots[0], x_ln >= knots[1]]
    means = [max(float(nu[side].mean()), 0.1 * float(nu.mean())) for side in sides]
    squares = [max(float(nu[side].var() - error[side].mean()), 0.01 * float(nu[side].var())) for side in sides]
    return np.array([*np.log(means), *(0.5 * np.log(squares)), *knots, *knots])


def _between(values: np.ndarray, x_ln: np.ndarray) -> np.ndarray:
    first, last, left, right = values
    return np.interp(x_ln, [left, max(right, left + 1e-9)], [first, last])


def _as_clipped_log(values: np.ndarray) -> ClippedLog:
    first, last, left, right = values
    slope = 0.0 if first == last or right - left < 1e-6 else (last - first) / (right - left)
    # a step is a steep line between its two values
    if first != last and slope == 0.0:
        slope = (last - first) / 1e-6
    return ClippedLog(
        slope_ln=round_value(float(slope)),
        offset=round_value(float(first - slope * left)),
        min=round_value(float(min(first, last))),
        max=round_value(float(max(first, last))),
    )
