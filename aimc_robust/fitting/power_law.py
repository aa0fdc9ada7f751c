"""Fit drift by a power law to trajectories of cells."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar

from aimc_robust.devices.laws.power_law_drift import PowerLawDrift
from aimc_robust.fitting.drift_fit import DriftFit
from aimc_robust.fitting.exponent_laws import fit_exponent_laws
from aimc_robust.fitting.points import Points
from aimc_robust.fitting.read_noise import ReadNoise
from aimc_robust.fitting.rounding import round_number
from aimc_robust.fitting.std_fit import FittedLaws
from aimc_robust.fitting.trajectories import Trajectories, exponents, regress_cells, trajectories

MIN_TRAJECTORIES = 30
HALF_CHI2_95 = 1.92  # half the 95 % quantile of chi^2 with one degree of freedom


def fit_power_law(
    points: Points,
    read_noise: ReadNoise | None,
    programming: FittedLaws,
    *,
    reference: float,
    t0_s: float | None = None,
) -> DriftFit | str:
    """Fit state(t) = state at the earliest time * ((t + t0_s) / t0_s)^-nu, t from the earliest time.

    nu is normal over cells. Its mean and standard deviation are constants, lines, or lines between two bounds over
    ln(target / reference), selected by BIC.

    Args:
        points: The cells.
        read_noise: Their read noise.
        programming: The programming error.
        reference: Reference state [unit].
        t0_s: Seconds from the programming pulse to the earliest time. None: the earliest time itself, or the maximum
            of the likelihood if that time is 0 or trajectories of three times or more contradict it.

    Returns:
        The fit, or the reason why there is none.

    References:
        S. R. Nandakumar et al., Phase-change memory models for deep learning training and inference, ICECS 2019.
    """
    cells = trajectories(points, read_noise)
    if len(cells.target) < MIN_TRAJECTORIES:
        return (
            f"a power law needs {MIN_TRAJECTORIES} cells of positive state that the column device follows over "
            f"time, got {len(cells.target)}"
        )
    fitted_t0_s, origin = (t0_s, "as given") if t0_s is not None else _find_t0_s(cells, float(points.times_s[0]))
    nu, error = exponents(cells, fitted_t0_s)
    if nu.mean() <= 0:
        return "states do not fall over time on average, so there is no power law"
    x_ln = np.log(cells.target / reference)
    laws = fit_exponent_laws(nu, error, x_ln)
    law = PowerLawDrift(
        kind="power-law",
        limits_s=(0.0, round_number(float(cells.time_s[-1]))),
        t0_s=round_number(fitted_t0_s),
        reference=reference,
        exponent_mean=laws.mean,
        exponent_std=laws.std,
    )
    summary = f"power law of {len(nu)} cells, t0_s = {fitted_t0_s:.4g} s {origin}, mean exponent {nu.mean():.4f}"
    return DriftFit(law, programming, laws.parameters + (t0_s is None), float(points.times_s[0]), summary)


def _find_t0_s(cells: Trajectories, earliest_s: float) -> tuple[float, str]:
    """t0_s that makes the trajectories straightest, and how it was found."""
    first_later = float(cells.time_s[1])
    if cells.present.sum(axis=1).max() < 3:
        return (earliest_s, "(the earliest time)") if earliest_s > 0 else (first_later / 10.0, "(two times: arbitrary)")
    variance_known = cells.variance.any()

    def cost(t0_ln: float) -> float:
        """-log likelihood of the residuals, maximized over the exponents, and over the variance if it is unknown."""
        fit = regress_cells(cells, float(np.exp(t0_ln)))
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
