"""What holds at the earliest time: read noise, stuck cells, the error of programming, and a constant offset."""

from typing import NamedTuple

import numpy as np
from scipy import stats

from aimc_robust.errors import DataError
from aimc_robust.fitting.laws import Sample, StdLaw, choose, std_at
from aimc_robust.fitting.points import Points

FEWEST_CELLS = 20  # at the earliest time
FEWEST_REPEATS = 20  # reads beyond the first of each cell, for a law of read noise
OUTLYING = 6.0  # robust standard deviations beyond which a cell does not belong to the rest
FEWEST_STUCK = 3


def check_first(first: Points) -> None:
    """Raise DataError unless the points of the earliest time can support a fit."""
    when = f"at the earliest time, {first.times_s[0]:g} s,"
    if len(first) < FEWEST_CELLS:
        raise DataError(f"{when} expected at least {FEWEST_CELLS} cells, got {len(first)}; measure more cells then.")
    if len(np.unique(first.target)) < 2:
        raise DataError(f"{when} every cell has the target {first.target[0]:g}; expected at least two target states.")
    if np.all(first.state == first.target):
        raise DataError(f"{when} every measured state equals its target, so there is no error to fit.")


def read_sample(points: Points) -> Sample:
    """The deviations of repeated reads from their mean, over the state [unit]."""
    several = points.only((points.reads > 1) & (points.state > 0))
    zeros = np.zeros(len(several))
    return Sample(several.state, np.sqrt(several.variance), several.reads - 1.0, zeros, zeros.astype(bool))


class ReadNoise(NamedTuple):
    """The law of read noise over the present state, and its factor at each time (groups,), which a card cannot hold;
    fitted: how many parameters the law has."""

    law: StdLaw
    factors: np.ndarray
    fitted: int


def fit_read(points: Points, *, reference: float) -> ReadNoise | None:
    """The law of read noise over the present state, from the variance within cells; None without enough repeats.

    (n - 1) s^2 / sigma^2 of the n reads of one cell follows chi^2 with n - 1 degrees of freedom. The factors keep what
    is taken off the programming error right where read noise changes with time.
    """
    sample = read_sample(points)
    if sample.freedom.sum() < FEWEST_REPEATS or not sample.deviation.any() or len(np.unique(sample.state)) < 2:
        return None
    choice = choose([sample], reference=reference)
    law, factors = choice.laws[0], np.ones(len(points.times_s))
    for group in range(len(factors)):
        state, deviation, freedom, *_ = read_sample(points.at(group))
        std = std_at(law, state)
        kept = std > 0
        if freedom[kept].sum() >= FEWEST_REPEATS:
            factors[group] = np.sqrt(np.average((deviation[kept] / std[kept]) ** 2, weights=freedom[kept]))
    return ReadNoise(law, factors, choice.parameters)


def known_variance(points: Points, read: ReadNoise | None) -> np.ndarray:
    """Variance of each point's mean state that read noise explains [unit^2]."""
    if read is None:
        return np.zeros(len(points))
    return (std_at(read.law, points.state) * read.factors[points.group]) ** 2 / points.reads


def around(points: Points, centre: np.ndarray, read: ReadNoise | None) -> Sample:
    """The deviations of `points` from `centre` [unit], the law's argument; states of 0 count as cut off there."""
    return Sample(
        centre, points.state - centre, np.ones(len(points)), known_variance(points, read), cut=points.state == 0
    )


class Stuck(NamedTuple):
    """Cells that stay at an end of the window: (points,) masks, and the fractions of cells that they stand for."""

    low: np.ndarray
    high: np.ndarray
    fractions: tuple[float, float]
    strays: int  # outliers elsewhere


def find_stuck(first: Points) -> Stuck:
    """The cells far from their target (6 robust standard deviations) that lie at an end of the window.

    The scale is 1.4826 times the median |deviation| of the nearest targets. A class of at least 3 cells counts, its
    fraction among the cells whose target is far enough from that end for it to be seen.
    """
    scale = _robust_std(first)
    outlying = np.abs(first.state - first.target) > OUTLYING * scale
    ends, masks, fractions = (first.target.min(), first.target.max()), [], []
    for end in ends:
        near = scale[np.argmin(np.abs(first.target - end))]
        visible = np.abs(first.target - end) > OUTLYING * (scale + near)
        mask = outlying & visible & (np.abs(first.state - end) <= 3.0 * max(near, 1e-3 * (ends[1] - ends[0])))
        if mask.sum() < FEWEST_STUCK:
            mask = np.zeros_like(mask)
        masks.append(mask)
        fractions.append(float(mask.sum() / max(visible.sum(), 1)))
    strays = int((outlying & ~masks[0] & ~masks[1]).sum())
    return Stuck(masks[0], masks[1], (fractions[0], fractions[1]), strays)


def _robust_std(points: Points) -> np.ndarray:
    """A rough standard deviation at each point, not moved by outliers: a straight line through medians of bins."""
    order = np.argsort(points.target, kind="stable")
    bins = np.array_split(order, max(2, min(12, len(points) // 15)))
    size = 1.4826 * np.abs(points.state - points.target)
    middle = np.array([points.target[part].mean() for part in bins])
    width = np.array([np.median(size[part]) for part in bins])
    least = max(float(np.median(width)), 1e-3 * float(np.ptp(points.target))) * 0.2
    return np.interp(points.target, middle, np.maximum(width, least))


class Offset(NamedTuple):
    """Mean of measured - target [unit] with its 95 % interval, its p value, and its size in standard deviations."""

    mean: float
    low: float
    high: float
    p: float
    relative: float

    @property
    def matters(self) -> bool:
        """Whether it is there (p < 0.01) and above a quarter of the error's standard deviation."""
        return self.p < 0.01 and self.relative > 0.25


def find_offset(sample: Sample) -> Offset:
    """The offset of the states from their targets at the earliest time, by a t interval; cut states are left out."""
    x = sample.deviation[~sample.cut]
    mean, error = float(x.mean()), float(x.std(ddof=1) / np.sqrt(len(x)))
    half = float(stats.t.ppf(0.975, len(x) - 1)) * error
    p = float(2.0 * stats.t.sf(abs(mean) / error, len(x) - 1)) if error > 0 else float(mean == 0)
    return Offset(mean, mean - half, mean + half, p, abs(mean) / float(np.sqrt(np.mean(x**2))))
