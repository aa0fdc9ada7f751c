"""Sampling error of a mean: 95 % intervals and p values of means over chips or trained models; skewed values too."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special  # scipy.stats has the same quantiles but takes a second to import

CONFIDENCE = 0.95
LEVEL = 1.0 - CONFIDENCE  # of a two-sided interval or test
FEWEST_SKEWED = 5  # values of Hall's interval; the skewness of fewer is hardly known
ROUNDING_TOLERANCE = 1e-9  # a spread below this fraction of the largest value is rounding error of equal values


class MeanError(NamedTuple):
    """Estimated sampling variance of a mean, and the intervals and p values that follow from it.

    A mean over independent values has one part, and its interval is Student's t. A mean over trained models that share
    their chips has a second part, since the chips do not average out over the models (`crossed_effects.mean_error`).
    The parts are independent, so their squared half-widths add (MOVER)::

        half_width(level)^2 = t(df)^2 variance + t(chip_df)^2 max(chip_variance - q noise_variance, 0)

    `noise_variance` is what `chip_variance` would be without a chip effect. q is the quantile of F(chip_df, noise_df)
    at level / 0.1, at most its median: a chip effect counts beyond what noise alone produces at that level. Without q,
    tests at small levels would reject too often, because a chip effect can look like noise by chance.

    Arrays in place of numbers give arrays.

    Attributes:
        variance: Estimated variance of the mean of independent values; NaN if it cannot be estimated.
        df: Its degrees of freedom.
        chip_variance: Estimated variance due to shared chips and noise.
        chip_df: Its degrees of freedom; 0 without shared chips.
        noise_variance: The part of `chip_variance` that is noise.
        noise_df: Its degrees of freedom.

    References:
        Zou and Donner, Statistics in Medicine 27, 1693 (2008). Burdick and Graybill, Confidence Intervals on Variance
        Components (1992). The choice of q by simulation: benchmarks/statistics/coverage.py.
    """

    variance: float
    df: int
    chip_variance: float = 0.0
    chip_df: int = 0
    noise_variance: float = 0.0
    noise_df: int = 0

    def half_width(self, level: float = LEVEL) -> float:
        """Half-width of the two-sided interval of confidence 1 - level; NaN without replication."""
        square = t_quantile(self.df, level) ** 2 * self.variance
        if self.chip_df:
            quantile = special.fdtri(self.chip_df, self.noise_df, min(10.0 * level, 0.5))
            chips = np.maximum(self.chip_variance - quantile * self.noise_variance, 0.0)
            square = square + t_quantile(self.chip_df, level) ** 2 * chips
        return np.sqrt(square)

    def p_value(self, mean: float) -> float:
        """Two-sided p value of a true mean of 0: the level whose interval ends at 0.

        NaN without replication or without spread, where no test is possible.
        """
        if not self.variance > 0.0:
            return math.nan
        lowest = float(2.0 * special.stdtr(self.df, -abs(mean) / math.sqrt(self.variance)))
        start = math.log(max(lowest, 1e-300))
        # The second part only widens the interval: the level at which it ends at 0 is `lowest` or above.
        if self.chip_df == 0 or self.half_width(math.exp(start)) <= abs(mean) * (1.0 + 1e-9):
            return lowest
        from scipy import optimize  # slow to import

        root = optimize.brentq(lambda x: float(self.half_width(math.exp(x))) - abs(mean), start, 0.0, rtol=1e-12)
        return math.exp(root)


def t_quantile(df: int, level: float = LEVEL) -> float:
    """Quantile of Student's t at which a two-sided interval of confidence 1 - level ends; NaN without df."""
    return float(-special.stdtrit(df, level / 2)) if df > 0 else math.nan


def sample_std(values: np.ndarray) -> float:
    """Sample standard deviation of at least two values; exactly 0 if they differ by rounding error only."""
    std = float(np.std(values, ddof=1))
    return std if std > ROUNDING_TOLERANCE * float(np.max(np.abs(values))) else 0.0


def mean_error(values: ArrayLike, pilot: int | None = None) -> MeanError:
    """Estimate the sampling error of the mean of independent values; its variance is NaN for fewer than two.

    Args:
        values: Independent values, shape (n,).
        pilot: Number of first values that decided how many followed; only these then estimate the standard deviation.
    """
    values = np.asarray(values, dtype=float)
    pilot_values = values if pilot is None else values[:pilot]
    df = len(pilot_values) - 1
    return MeanError(sample_std(pilot_values) ** 2 / len(values) if df > 0 else math.nan, df)


def t_interval(values: ArrayLike, pilot: int | None = None) -> tuple[float, float]:
    """Two-sided 95 % Student t interval of the mean of independent values, see `mean_error`; NaN for fewer than two."""
    mean, half_width = float(np.mean(np.asarray(values))), mean_error(values, pilot).half_width()
    return mean - half_width, mean + half_width


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
    (docs/explanation/statistics.md has the numbers).

    References:
        P. Hall, J. R. Statist. Soc. B 54, 221 (1992).
    """
    values = np.asarray(values, dtype=float)
    if len(values) < FEWEST_SKEWED:
        return math.nan, math.nan
    mean, error, g = float(values.mean()), mean_error(values), skewness(values)
    deviation, slope, t = math.sqrt(error.variance), g / (3.0 * math.sqrt(len(values))), t_quantile(error.df)
    if math.isnan(g) or abs(slope) < 1e-9:
        return mean - t * deviation, mean + t * deviation
    upper, lower = ((math.cbrt(3.0 * slope * (y - slope / 2.0) + 1.0) - 1.0) / slope for y in (t, -t))
    return mean - deviation * upper, mean - deviation * lower
