"""Mean and spread of the exponents of a power law over the target."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from aimc_robust.devices.laws.clipped_log import ClippedLog
from aimc_robust.fitting.std_laws import rounded

POINTS_PER_KNOT = 12
START_QUANTILES = ((0.05, 0.3), (0.1, 0.6), (0.3, 0.9), (0.05, 0.15))  # of the targets, for the knots


def fit_exponent_laws(nu: np.ndarray, error: np.ndarray, x_ln: np.ndarray) -> tuple[ClippedLog, ClippedLog, int]:
    """Fit mean and standard deviation of the exponents, and select their form by BIC.

    Each is a line between two knots of ln(target / reference), constant outside: (value, value, knot, knot). The
    density of |N(m, s^2)| with an estimation error e is N(nu; m, s^2 + e) + N(nu; -m, s^2 + e).

    Args:
        nu: Exponent of each cell (n,).
        error: Variance of its estimation (n,).
        x_ln: ln(target / reference) of each cell (n,).

    Returns:
        Mean, standard deviation, and the number of parameters of both.
    """
    ends = (float(x_ln.min()), float(x_ln.max()))
    spread = np.sqrt(max(float(nu.var() - error.mean()), (0.05 * nu.std()) ** 2))
    typical = abs(float(nu.mean()))

    def cost(p: np.ndarray, form: str) -> float:
        mean, std = (_interpolated(values, x_ln) for values in _lines(p, form, ends))
        variance = std**2 + error
        positive, negative = ((nu - sign * mean) ** 2 / variance for sign in (1.0, -1.0))
        return float(0.5 * np.sum(np.log(variance)) - np.logaddexp(-0.5 * positive, -0.5 * negative).sum())

    starts: dict[str, list[np.ndarray]] = {"constant": [np.log([typical, spread])]}
    starts["line"] = [np.log([typical, typical, spread, spread])]
    if len(np.unique(x_ln)) >= 6 and len(nu) >= 8 * POINTS_PER_KNOT:
        starts["bounded"] = [_bounded_start(nu, error, x_ln, quantiles) for quantiles in START_QUANTILES]
    fits = []
    for form, points in starts.items():
        best = min(
            (minimize(cost, start, args=(form,), method="L-BFGS-B") for start in points), key=lambda fit: fit.fun
        )
        fits.append((2.0 * best.fun + len(best.x) * np.log(len(nu)), best.x, form))
    _, p, form = min(fits, key=lambda fit: fit[0])
    mean, std = (_as_clipped_log(values) for values in _lines(p, form, ends))
    return mean, std, len(p)


def _lines(p: np.ndarray, form: str, ends: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """(value, value, knot, knot) of mean and of standard deviation from free parameters, which hold ln of values."""
    if form == "constant":
        return np.array([np.exp(p[0])] * 2 + [*ends]), np.array([np.exp(p[1])] * 2 + [*ends])
    knots: list[np.ndarray | tuple[float, float]] = [ends, ends]
    if form == "bounded":
        knots = [np.clip(np.sort(p[4:6]), *ends), np.clip(np.sort(p[6:8]), *ends)]
    return np.array([*np.exp(p[:2]), *knots[0]]), np.array([*np.exp(p[2:4]), *knots[1]])


def _bounded_start(nu: np.ndarray, error: np.ndarray, x_ln: np.ndarray, quantiles: tuple[float, float]) -> np.ndarray:
    """Parameters with knots at two quantiles of x_ln; the values are those of the cells below and above."""
    knots = np.quantile(x_ln, quantiles)
    sides = [x_ln <= knots[0], x_ln >= knots[1]]
    means = [max(float(nu[side].mean()), 0.1 * float(nu.mean())) for side in sides]
    squares = [max(float(nu[side].var() - error[side].mean()), 0.01 * float(nu[side].var())) for side in sides]
    return np.array([*np.log(means), *(0.5 * np.log(squares)), *knots, *knots])


def _interpolated(values: np.ndarray, x_ln: np.ndarray) -> np.ndarray:
    first, last, left, right = values
    return np.interp(x_ln, [left, max(right, left + 1e-9)], [first, last])


def _as_clipped_log(values: np.ndarray) -> ClippedLog:
    first, last, left, right = values
    slope = 0.0 if first == last or right - left < 1e-6 else (last - first) / (right - left)
    # A step is a steep line between its two values.
    if first != last and slope == 0.0:
        slope = (last - first) / 1e-6
    low, high = min(first, last), max(first, last)
    return ClippedLog(**rounded({"slope_ln": slope, "offset": first - slope * left, "min": low, "max": high}))
