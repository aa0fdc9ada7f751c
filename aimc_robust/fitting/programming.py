"""The programming error at the earliest time: its deviations, and a constant offset."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats

from aimc_robust.errors import DataError
from aimc_robust.fitting.points import Points
from aimc_robust.fitting.read_noise import ReadNoise, read_variance
from aimc_robust.fitting.std_fit import Sample

MIN_CELLS = 20  # at the earliest time, and at each time of a drift table


def check_earliest(first: Points, origin: str) -> None:
    """Raise `DataError` if the points of the earliest time, in `origin`, are too few, of one target, or exact."""
    when = f"measurements in {origin}: at the earliest time, {first.times_s[0]:g} s,"
    if len(first) < MIN_CELLS:
        raise DataError(f"{when} expected at least {MIN_CELLS} cells, got {len(first)}; measure more cells then.")
    if len(np.unique(first.target)) < 2:
        raise DataError(f"{when} every cell has the target {first.target[0]:g}; measure at least two target states.")
    if np.all(first.state == first.target):
        raise DataError(f"{when} every measured state equals its target, so there is no error to fit.")


def deviations_from(center: np.ndarray, points: Points, read_noise: ReadNoise | None) -> Sample:
    """Deviations from `center` (points,) [unit], where the law is evaluated too; a state of 0 counts as cut off."""
    ones, known = np.ones(len(points)), read_variance(points, read_noise)
    return Sample(center, points.state - center, ones, known, cut=points.state == 0)


class MeanOffset(NamedTuple):
    """Mean [unit] of measured - target at the earliest time, and the ends of its 95 % interval.

    p is that of a mean as large without an offset; `relative` is |mean| divided by the root mean square deviation.
    """

    mean: float
    low: float
    high: float
    p: float
    relative: float

    @property
    def matters(self) -> bool:
        """Whether the offset is significant (p < 0.01) and above a quarter of the error's standard deviation."""
        return self.p < 0.01 and self.relative > 0.25


def mean_offset(sample: Sample) -> MeanOffset:
    """Estimate the offset by a t interval; states cut off at 0 are left out."""
    x = sample.deviation[~sample.cut]
    mean, error = float(x.mean()), float(x.std(ddof=1) / np.sqrt(len(x)))
    half = float(stats.t.ppf(0.975, len(x) - 1)) * error
    p = float(2.0 * stats.t.sf(abs(mean) / error, len(x) - 1)) if error > 0 else float(mean == 0)
    return MeanOffset(mean, mean - half, mean + half, p, abs(mean) / float(np.sqrt(np.mean(x**2))))
