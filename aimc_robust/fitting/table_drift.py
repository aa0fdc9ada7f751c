"""Fit a drift table: a shift of the mean and a standard deviation at each of several times."""

from __future__ import annotations

import numpy as np
from scipy import stats
from scipy.special import log_ndtr

from aimc_robust.devices.laws.table_drift import TableDrift, TableRow
from aimc_robust.fitting.card_draft import DriftFit
from aimc_robust.fitting.points import Points
from aimc_robust.fitting.programming import MIN_CELLS, deviations_from
from aimc_robust.fitting.read_noise import ReadNoise
from aimc_robust.fitting.std_fit import POINTS_PER_COEFFICIENT, candidate_families, fit_best_family, fit_family
from aimc_robust.fitting.std_laws import rounded, std_at

MAX_ROWS = 8
MAX_SHIFT_DEGREE = 5
ITERATIONS, ITERATIONS_UNCUT = 4, 1

Shift = tuple[float, ...]


def fit_drift_table(points: Points, read_noise: ReadNoise | None, *, reference: float) -> DriftFit | str:
    """Fit a polynomial shift of the target and a standard deviation at each time.

    The degree of the shift, and the family of the standard deviation, are selected by BIC over all rows. `reference`
    [unit] is that of polynomials.

    Returns:
        The fit, or the reason why there is none.
    """
    groups = _table_groups(points)
    if len(groups) < 2:
        return f"a drift table needs {MIN_CELLS} cells of two targets or more at a second time"
    parts = [points.at(group) for group in groups]
    degree, shifts = _fit_shifts(parts[1:], read_noise, reference)
    centers = [parts[0].target, *[_shifted(part, shift) for part, shift in zip(parts[1:], shifts, strict=True)]]
    samples = [deviations_from(center, part, read_noise) for part, center in zip(parts, centers, strict=True)]
    best = fit_best_family(samples, reference=reference)
    times_s = [float(points.times_s[group]) for group in groups]
    rows = tuple(
        TableRow(time_s=rounded(time_s), shift=shift, std=law)
        for time_s, shift, law in zip(times_s, [(), *shifts], best.laws, strict=True)
    )
    law = TableDrift(
        kind="table",
        limits_s=(rows[0].time_s, rounded(float(points.times_s[-1]))),
        interpolation="log" if times_s[0] > 0 else "linear",
        at=rows,
    )
    programming = fit_family(best.family, samples[:1], reference=reference)
    parameters = (degree + 1) * (len(rows) - 1) + best.parameters - programming.parameters
    shift_text = "no shift" if degree < 0 else f"a shift of degree {degree}"
    summary = f"table of {len(rows)} times with {shift_text}; {_rank_text(points)}"
    return DriftFit(law, programming, parameters, 0.0, summary)


def _table_groups(points: Points) -> list[int]:
    """The times (indices) that a table has a row for: the earliest, and up to 7 others with enough cells."""
    groups = [
        g
        for g in range(1, len(points.times_s))
        if (points.group == g).sum() >= MIN_CELLS and len(np.unique(points.target[points.group == g])) >= 2
    ]
    if len(groups) < MAX_ROWS:
        return [0, *groups]
    marks = np.geomspace(points.times_s[groups[0]], points.times_s[groups[-1]], MAX_ROWS - 1)
    nearest = {min(groups, key=lambda g: abs(np.log(points.times_s[g] / mark))) for mark in marks}
    return [0, *sorted(nearest)]


def _fit_shifts(parts: list[Points], read_noise: ReadNoise | None, reference: float) -> tuple[int, list[Shift]]:
    """Degree and coefficients [unit] of each part: weighted least squares, one degree for all by BIC; -1: no shift."""
    states = min(len(np.unique(part.target)) for part in parts)
    count = min(len(part) for part in parts)
    highest = max(0, min(MAX_SHIFT_DEGREE, states - 1, count // POINTS_PER_COEFFICIENT - 1))
    weighted = [_expected_shift(part, read_noise, highest, reference) for part in parts]

    def bic(degree: int) -> float:
        total = 0.0
        for part, (expected, std), shift in zip(parts, weighted, fits[degree], strict=True):
            residual = expected - np.polynomial.polynomial.polyval(part.target, shift or (0.0,))
            total += float(np.sum((residual / std) ** 2)) + len(shift) * np.log(len(part))
        return total

    fits = {
        degree: [
            _regression(part, *expected, degree, reference) for part, expected in zip(parts, weighted, strict=True)
        ]
        for degree in range(-1, highest + 1)
    }
    best = min(fits, key=bic)
    return best, fits[best]


def _expected_shift(
    part: Points, read_noise: ReadNoise | None, degree: int, reference: float
) -> tuple[np.ndarray, np.ndarray]:
    """Shift of each point and its standard deviation [unit], the latter a polynomial of at most degree 3.

    A state cut off at 0 is replaced by its expectation below 0, by a few iterations of EM.
    """
    shift: Shift = ()
    expected = part.state - part.target
    for iteration in range(ITERATIONS):
        sample = deviations_from(_shifted(part, shift), part, read_noise)
        family = max(f for f in candidate_families([sample]) if isinstance(f, int) and f <= 3)
        law = fit_family(family, [sample], reference=reference).laws[0]
        std = np.sqrt(std_at(law, sample.state) ** 2 + sample.known)
        if sample.cut.any():
            ratio = sample.state[sample.cut] / std[sample.cut]
            hazard = np.exp(stats.norm.logpdf(ratio) - log_ndtr(-ratio))
            expected[sample.cut] = (sample.state - part.target)[sample.cut] - std[sample.cut] * hazard
        elif iteration == ITERATIONS_UNCUT:
            break
        shift = _regression(part, expected, std, degree, reference)
    return expected, std


def _regression(part: Points, expected: np.ndarray, std: np.ndarray, degree: int, reference: float) -> Shift:
    """Ascending coefficients of the polynomial of the target that fits `expected`."""
    powers = np.arange(degree + 1)
    x = (part.target[:, None] / reference) ** powers / std[:, None]
    c = np.linalg.lstsq(x, expected / std, rcond=None)[0] if degree >= 0 else np.zeros(0)
    return rounded(tuple((c / reference**powers).tolist()))


def _shifted(part: Points, shift: Shift) -> np.ndarray:
    """Shifted targets, at least 0 [unit]."""
    return np.maximum(part.target + np.polynomial.polynomial.polyval(part.target, shift or (0.0,)), 0.0)


def _rank_text(points: Points) -> str:
    """How well the assumption of a table holds, that cells keep their quantile of the distribution."""
    last = int(points.group.max())
    first, late = points.at(0), points.at(last)
    shared, a, b = np.intersect1d(first.cell, late.cell, return_indices=True)
    if len(shared) < MIN_CELLS:
        return "it assumes that cells keep their quantile of the distribution"
    rank = stats.spearmanr((first.state - first.target)[a], (late.state - late.target)[b]).statistic
    return f"it assumes that cells keep their quantile of the distribution (measured rank correlation: {rank:.2f})"
