"""Standard deviations bin by bin of the state, against a law."""

from typing import NamedTuple

import numpy as np
from scipy import stats

MOST_BINS, POINTS_PER_BIN = 10, 10


class Bin(NamedTuple):
    """Cells of similar target, or reads of similar state.

    target: mean target or state. points: how many. measured: their standard deviation, read noise taken off in the
    card's proportion, with its 95 % chi^2 interval `low` to `high`. fitted: the card's. All [unit]. offset: mean
    residual in standard deviations.
    """

    target: float
    points: int
    measured: float
    low: float
    high: float
    fitted: float
    offset: float


def bins_of(state: np.ndarray, z: np.ndarray, freedom: np.ndarray, std: np.ndarray) -> list[Bin]:
    found = []
    for index in _parts(state, freedom):
        count = float(freedom[index].sum())
        fitted = float(np.sqrt(np.average(std[index] ** 2, weights=freedom[index])))
        square = float((freedom[index] * z[index] ** 2).sum())
        low, high = (np.sqrt(square / stats.chi2.ppf(q, count)) * fitted for q in (0.975, 0.025))
        measured = np.sqrt(square / count) * fitted
        offset = float(z[index].mean())
        found.append(
            Bin(float(state[index].mean()), len(index), float(measured), float(low), float(high), fitted, offset)
        )
    return found


def _parts(state: np.ndarray, freedom: np.ndarray) -> list[np.ndarray]:
    """Rows of each bin: a bin for each state where there are few, else about equally many in each."""
    distinct, index = np.unique(state, return_inverse=True)
    each = [np.flatnonzero(index == i) for i in range(len(distinct))] if len(distinct) <= 2 * MOST_BINS else []
    if each and min(freedom[rows].sum() for rows in each) >= POINTS_PER_BIN:
        return each
    count = int(np.clip(freedom.sum() / POINTS_PER_BIN, 1, MOST_BINS))
    order = np.argsort(state, kind="stable")
    return np.array_split(order, min(count, len(order)))


def p_law(bins: list[Bin], state: np.ndarray, freedom: np.ndarray, *, fitted: int) -> float:
    """Likelihood ratio of a standard deviation of its own in every bin against the law: sum n (q - 1 - ln q), q the
    measured variance over the law's, follows chi^2 with bins - parameters degrees of freedom."""
    counts = [float(freedom[index].sum()) for index in _parts(state, freedom)]
    ratios = [max(b.measured / b.fitted, 1e-12) ** 2 if b.fitted > 0 else 1.0 for b in bins]
    statistic = sum(n * (q - 1.0 - np.log(q)) for n, q in zip(counts, ratios, strict=True))
    return float(stats.chi2.sf(statistic, max(len(bins) - fitted, 1)))


def largest_miss(bins: list[Bin]) -> float:
    return max(abs(b.measured / b.fitted - 1.0) for b in bins if b.fitted > 0)


def r_squared(bins: list[Bin]) -> float:
    """1 - (squared misses of the bins' standard deviations) / (their squares around the mean), by numbers of cells."""
    n = np.array([b.points for b in bins])
    measured, fitted = np.array([b.measured for b in bins]), np.array([b.fitted for b in bins])
    total = float(np.sum(n * (measured - np.average(measured, weights=n)) ** 2))
    return 1.0 - float(np.sum(n * (measured - fitted) ** 2)) / total if total > 0 else float("nan")
