"""How states age: a table of shift and width at each time, or a power law with an exponent of each cell's own."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats
from scipy.special import log_ndtr

from aimc_robust.devices.laws.table_drift import TableDrift, TableRow
from aimc_robust.fitting.laws import POINTS_PER_COEFFICIENT, Choice, families, fit_family, round_value, std_at
from aimc_robust.fitting.points import Points
from aimc_robust.fitting.programming import ReadNoise, around

MOST_ROWS = 8
FEWEST_CELLS = 20  # at each time of a table
HIGHEST_SHIFT = 5  # degree
ROUNDS, ROUNDS_UNCUT = 4, 1


class Ageing(NamedTuple):
    """A fitted drift: the card's table (None: no drift), the programming law that goes with it, its number of free
    parameters, the card's time of the earliest measurement [s], and a sentence on the fit."""

    law: object | None
    programming: Choice
    parameters: int
    clock_s: float
    text: str


def rows_of_table(points: Points) -> list[int]:
    """The groups of time that a table has a row for: the earliest, and up to 7 others with enough cells."""
    able = [
        g
        for g in range(1, len(points.times_s))
        if (points.group == g).sum() >= FEWEST_CELLS and len(np.unique(points.target[points.group == g])) >= 2
    ]
    if len(able) < MOST_ROWS:
        return [0, *able]
    marks = np.geomspace(points.times_s[able[0]], points.times_s[able[-1]], MOST_ROWS - 1)
    nearest = {min(able, key=lambda g: abs(np.log(points.times_s[g] / mark))) for mark in marks}
    return [0, *sorted(nearest)]


def fit_table(points: Points, read: ReadNoise | None, *, reference: float) -> Ageing | None:
    """Shift (a polynomial of the target) and standard deviation (one family for all rows) at each time.

    The degree of the shift, and the family, are chosen by BIC over all rows. None with fewer than two rows.
    """
    chosen = rows_of_table(points)
    if len(chosen) < 2:
        return None
    parts = [points.at(group) for group in chosen]
    degree, shifts = _shifts(parts[1:], read, reference)
    centres = [parts[0].target, *[_moved(part, shift) for part, shift in zip(parts[1:], shifts, strict=True)]]
    samples = [around(part, centre, read) for part, centre in zip(parts, centres, strict=True)]
    best = min((fit_family(f, samples, reference=reference) for f in families(samples)), key=lambda c: c.bic)
    times_s = [float(points.times_s[group]) for group in chosen]
    rows = tuple(
        TableRow(time_s=round_value(time_s), shift=shift, std=law)
        for time_s, shift, law in zip(times_s, [(), *shifts], best.laws, strict=True)
    )
    law = TableDrift(
        kind="table",
        limits_s=(rows[0].time_s, round_value(float(points.times_s[-1]))),
        interpolation="log" if times_s[0] > 0 else "linear",
        at=rows,
    )
    programming = fit_family(best.family, samples[:1], reference=reference)
    parameters = (degree + 1) * (len(rows) - 1) + best.parameters - programming.parameters
    shift_text = "no shift" if degree < 0 else f"a shift of degree {degree}"
    text = f"table of {len(rows)} times with {shift_text}; {_rank_text(points)}"
    return Ageing(law, programming, parameters, 0.0, text)


def _shifts(parts: list[Points], read: ReadNoise | None, reference: float) -> tuple[int, list[tuple[float, ...]]]:
    """(degree, coefficients [unit] for each part): weighted least squares, one degree for all by BIC; -1: no shift."""
    states = min(len(np.unique(part.target)) for part in parts)
    count = min(len(part) for part in parts)
    highest = max(0, min(HIGHEST_SHIFT, states - 1, count // POINTS_PER_COEFFICIENT - 1))
    weighted = [_expected(part, read, highest, reference) for part in parts]

    def bic(degree: int) -> float:
        total = 0.0
        for part, (expected, std), shift in zip(parts, weighted, fits[degree], strict=True):
            miss = expected - np.polynomial.polynomial.polyval(part.target, shift or (0.0,))
            total += float(np.sum((miss / std) ** 2)) + len(shift) * np.log(len(part))
        return total

    fits = {
        degree: [_regression(part, *known, degree, reference) for part, known in zip(parts, weighted, strict=True)]
        for degree in range(-1, highest + 1)
    }
    best = min(fits, key=bic)
    return best, fits[best]


def _expected(part: Points, read: ReadNoise | None, degree: int, reference: float) -> tuple[np.ndarray, np.ndarray]:
    """(shift of each point, its standard deviation) [unit], the width a cubic or what can be had.

    States cut off at 0 stand at their expectation below it, by a few rounds of EM.
    """
    shift: tuple[float, ...] = ()
    expected = part.state - part.target
    for turn in range(ROUNDS):
        sample = around(part, _moved(part, shift), read)
        family = max(f for f in families([sample]) if isinstance(f, int) and f <= 3)
        width = fit_family(family, [sample], reference=reference).laws[0]
        std = np.sqrt(std_at(width, sample.state) ** 2 + sample.known)
        if sample.cut.any():
            ratio = sample.state[sample.cut] / std[sample.cut]
            hazard = np.exp(stats.norm.logpdf(ratio) - log_ndtr(-ratio))
            expected[sample.cut] = (sample.state - part.target)[sample.cut] - std[sample.cut] * hazard
        elif turn == ROUNDS_UNCUT:
            break
        shift = _regression(part, expected, std, degree, reference)
    return expected, std


def _regression(
    part: Points, expected: np.ndarray, std: np.ndarray, degree: int, reference: float
) -> tuple[float, ...]:
    """Ascending coefficients of the polynomial of the target through `expected`."""
    powers = np.arange(degree + 1)
    x = (part.target[:, None] / reference) ** powers / std[:, None]
    c = np.linalg.lstsq(x, expected / std, rcond=None)[0] if degree >= 0 else np.zeros(0)
    return round_value(tuple((c / reference**powers).tolist()))


def _moved(part: Points, shift: tuple[float, ...]) -> np.ndarray:
    """Targets moved by the shift, not below 0 [unit]."""
    return np.maximum(part.target + np.polynomial.polynomial.polyval(part.target, shift or (0.0,)), 0.0)


def _rank_text(points: Points) -> str:
    """How far cells keep their place in the distribution, which a table takes for granted."""
    last = int(points.group.max())
    first, late = points.at(0), points.at(last)
    shared, a, b = np.intersect1d(first.cell, late.cell, return_indices=True)
    if len(shared) < FEWEST_CELLS:
        return "it takes for granted that cells keep their place in the distribution"
    rank = stats.spearmanr((first.state - first.target)[a], (late.state - late.target)[b]).statistic
    return f"it takes for granted that cells keep their place in the distribution (rank correlation found: {rank:.2f})"
