"""Interval of a mean of skewed values: Hall's transformation of Student's t."""

import math

import numpy as np
from numpy.typing import ArrayLike

from aimc_robust.statistics.t_interval import mean_error, t_quantile

FEWEST = 5  # values; the skewness of fewer is hardly known


def skewness(values: ArrayLike) -> float:
    """Sample skewness, adjusted for its bias; NaN for fewer than three values or without spread."""
    values = np.asarray(values, dtype=float)
    n, error = len(values), mean_error(values)
    if n < 3 or not error.variance > 0.0:
        return math.nan
    cubes = ((values - values.mean()) ** 3).mean() / (error.variance * n) ** 1.5
    return float(cubes) * n**2 / ((n - 1) * (n - 2))


def hall_interval(values: ArrayLike) -> tuple[float, float]:
    """Two-sided 95 % interval of the mean of independent, possibly skewed values; NaN for fewer than five.

    With a = g / (3 sqrt n) and g the skewness of n values, the transformed statistic T + a T^2 + a^2 T^3 / 3 + a / 2 of
    Student's T is nearly free of skewness; the interval is where it lies within the quantiles of Student's t. Its
    longer arm lies on the side of the longer tail.

    It covers better than the t interval where values are skewed and worse where they have long tails on both sides
    (docs/statistics.md has the numbers).

    References:
        P. Hall, J. R. Statist. Soc. B 54, 221 (1992).
    """
    values = np.asarray(values, dtype=float)
    if len(values) < FEWEST:
        return math.nan, math.nan
    mean, error, g = float(values.mean()), mean_error(values), skewness(values)
    deviation, slope, t = math.sqrt(error.variance), g / (3.0 * math.sqrt(len(values))), t_quantile(error.df)
    if math.isnan(g) or abs(slope) < 1e-9:
        return mean - t * deviation, mean + t * deviation
    upper, lower = ((math.cbrt(3.0 * slope * (y - slope / 2.0) + 1.0) - 1.0) / slope for y in (t, -t))
    return mean - deviation * upper, mean - deviation * lower
