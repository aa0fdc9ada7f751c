"""Read noise, fitted to repeated reads of the same cells."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from aimc_robust.fitting.points import Points
from aimc_robust.fitting.std_fit import Sample, fit_best_family
from aimc_robust.fitting.std_laws import FittedStd, std_at

MIN_REPEATS = 20  # reads beyond the first of each cell


class ReadNoise(NamedTuple):
    """Law of the standard deviation over the present state, and its number of parameters.

    `factors` (times,) multiply it at each time; a card cannot hold them.
    """

    law: FittedStd
    factors: np.ndarray
    parameters: int


def read_sample(points: Points) -> Sample:
    """Deviations of repeated reads from their mean, over the mean state."""
    repeated = points.only((points.reads > 1) & (points.state > 0))
    zeros = np.zeros(len(repeated))
    return Sample(repeated.state, np.sqrt(repeated.variance), repeated.reads - 1.0, zeros, zeros.astype(bool))


def fit_read_noise(points: Points, *, reference: float) -> ReadNoise | None:
    """Fit the law of read noise to the variance within cells; None without enough repeated reads.

    (n - 1) s^2 / sigma^2 of the n reads of one cell follows chi^2 with n - 1 degrees of freedom. The factors keep
    the part that is removed from the programming error right if read noise changes with time.
    """
    sample = read_sample(points)
    if sample.freedom.sum() < MIN_REPEATS or not sample.deviation.any() or len(np.unique(sample.state)) < 2:
        return None
    fit = fit_best_family([sample], reference=reference)
    law, factors = fit.laws[0], np.ones(len(points.times_s))
    for group in range(len(factors)):
        state, deviation, freedom, *_ = read_sample(points.at(group))
        std = std_at(law, state)
        noisy = std > 0
        if freedom[noisy].sum() >= MIN_REPEATS:
            factors[group] = np.sqrt(np.average((deviation[noisy] / std[noisy]) ** 2, weights=freedom[noisy]))
    return ReadNoise(law, factors, fit.parameters)


def read_variance(points: Points, read_noise: ReadNoise | None) -> np.ndarray:
    """Variance of each point's mean state that read noise explains (points,) [unit^2]."""
    if read_noise is None:
        return np.zeros(len(points))
    return (std_at(read_noise.law, points.state) * read_noise.factors[points.group]) ** 2 / points.reads
