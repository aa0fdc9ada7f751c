"""Student's t interval and t test for the mean of independent values."""

import functools
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special  # scipy.stats has the same quantiles but takes a second to import

CONFIDENCE = 0.95
ROUNDING_TOLERANCE = 1e-9  # a spread below this fraction of the largest value is rounding error of equal values


class MeanWithError(NamedTuple):
    """A mean with its standard error.

    Attributes:
        mean: Sample mean.
        standard_error: Standard error of the mean; NaN if it cannot be estimated.
        degrees_of_freedom: Degrees of freedom of the standard error.
    """

    mean: float
    standard_error: float
    degrees_of_freedom: int


@functools.cache
def t_quantile(degrees_of_freedom: int) -> float:
    """Quantile of Student's t at which a two-sided 95 % interval ends."""
    return float(special.stdtrit(degrees_of_freedom, 0.5 + CONFIDENCE / 2))


def sample_std(values: np.ndarray) -> float:
    """Sample standard deviation of at least two values; exactly 0 if they differ by rounding error only."""
    std = float(np.std(values, ddof=1))
    return std if std > ROUNDING_TOLERANCE * float(np.max(np.abs(values))) else 0.0


def mean_with_error(values: ArrayLike, pilot: int | None = None) -> MeanWithError:
    """Compute the mean and its standard error from independent values.

    Args:
        values: Independent values, shape (n,).
        pilot: Number of first values that decided how many followed; only these then estimate the
            standard deviation. None: all values do.

    Returns:
        Mean and standard error; the error is NaN for fewer than two values.
    """
    values = np.asarray(values, dtype=float)
    pilot_values = values if pilot is None else values[:pilot]
    error = sample_std(pilot_values) / math.sqrt(len(values)) if len(pilot_values) > 1 else math.nan
    return MeanWithError(float(np.mean(values)), error, len(pilot_values) - 1)


def t_interval(values: ArrayLike, pilot: int | None = None) -> tuple[float, float]:
    """Two-sided 95 % Student t interval of the mean of independent values.

    Args:
        values: Independent values, shape (n,).
        pilot: See `mean_with_error`.

    Returns:
        Lower and upper limit; NaN for fewer than two values.
    """
    mean, error, degrees_of_freedom = mean_with_error(values, pilot)
    half_width = t_quantile(degrees_of_freedom) * error if degrees_of_freedom > 0 else math.nan
    return mean - half_width, mean + half_width


def t_p_value(values: ArrayLike, pilot: int | None = None) -> float:
    """Two-sided p value of Student's t test of a mean of 0.

    It is below 0.05 exactly when `t_interval` excludes 0.

    Args:
        values: Independent values, shape (n,).
        pilot: See `mean_with_error`.

    Returns:
        The p value; NaN for fewer than two values and for values without spread.
    """
    mean, error, degrees_of_freedom = mean_with_error(values, pilot)
    if degrees_of_freedom < 1 or error == 0.0:
        return math.nan
    return float(2.0 * special.stdtr(degrees_of_freedom, -abs(mean) / error))
