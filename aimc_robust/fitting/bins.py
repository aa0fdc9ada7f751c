"""Standard deviations in bins of the state, compared with a law."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats

MAX_BINS, MIN_POINTS_PER_BIN = 10, 10


class Bin(NamedTuple):
    """Cells of similar target, or reads of similar state. States and standard deviations in the card's unit.

    Attributes:
        target: Mean target or state.
        points: Number of cells or reads.
        measured: Their standard deviation, with the read noise removed in the card's proportion.
        low: Lower end of its 95 % chi^2 interval.
        high: Upper end of the interval.
        fitted: Standard deviation of the card.
        offset: Mean residual, in standard deviations.
        freedom: Degrees of freedom of the measured standard deviation.
    """

    target: float
    points: int
    measured: float
    low: float
    high: float
    fitted: float
    offset: float
    freedom: float


def bin_residuals(state: np.ndarray, z: np.ndarray, freedom: np.ndarray, std: np.ndarray) -> list[Bin]:
    """Sort standardized residuals z (n,), each with degrees of freedom (n,), into bins of the state (n,) [unit].

    `std` (n,) is the standard deviation of the law at each state [unit].
    """
    bins = []
    for index in bin_rows(state, freedom):
        count = float(freedom[index].sum())
        fitted = float(np.sqrt(np.average(std[index] ** 2, weights=freedom[index])))
        square = float((freedom[index] * z[index] ** 2).sum())
        low, high = (np.sqrt(square / stats.chi2.ppf(q, count)) * fitted for q in (0.975, 0.025))
        bins.append(
            Bin(
                target=float(state[index].mean()),
                points=len(index),
                measured=float(np.sqrt(square / count) * fitted),
                low=float(low),
                high=float(high),
                fitted=fitted,
                offset=float(z[index].mean()),
                freedom=count,
            )
        )
    return bins


def bin_rows(state: np.ndarray, freedom: np.ndarray, *, min_points: int = MIN_POINTS_PER_BIN) -> list[np.ndarray]:
    """Rows of each bin: one bin per state if there are few states, else about equally many rows in each."""
    distinct, index = np.unique(state, return_inverse=True)
    if len(distinct) <= 2 * MAX_BINS:
        per_state = [np.flatnonzero(index == i) for i in range(len(distinct))]
        if per_state and min(freedom[rows].sum() for rows in per_state) >= min_points:
            return per_state
    count = int(np.clip(freedom.sum() / min_points, 1, MAX_BINS))
    order = np.argsort(state, kind="stable")
    return np.array_split(order, min(count, len(order)))


def law_p_value(bins: list[Bin], *, parameters: int, effect: float = 1.0) -> float:
    """P value of the likelihood ratio test of a free standard deviation in every bin against the fitted law.

    The statistic sum n (q - 1 - ln q), q the measured variance divided by the law's, follows chi^2 with
    bins - parameters degrees of freedom; for dependent cells, `effect` times it (see `design_effect`).
    """
    ratios = [max(b.measured / b.fitted, 1e-12) ** 2 if b.fitted > 0 else 1.0 for b in bins]
    statistic = sum(b.freedom * (q - 1.0 - np.log(q)) for b, q in zip(bins, ratios, strict=True))
    return float(stats.chi2.sf(statistic / effect, max(len(bins) - parameters, 1)))


def largest_relative_error(bins: list[Bin]) -> float:
    """Largest relative difference between measured and fitted standard deviation."""
    return max(abs(b.measured / b.fitted - 1.0) for b in bins if b.fitted > 0)


def r_squared(bins: list[Bin]) -> float:
    """Coefficient of determination of the fitted standard deviations, weighted by the number of points."""
    n = np.array([b.points for b in bins])
    measured, fitted = np.array([b.measured for b in bins]), np.array([b.fitted for b in bins])
    total = float(np.sum(n * (measured - np.average(measured, weights=n)) ** 2))
    return 1.0 - float(np.sum(n * (measured - fitted) ** 2)) / total if total > 0 else float("nan")
