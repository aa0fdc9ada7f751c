"""Student's t on independent values: the interval and the p value of their mean."""

import functools
import math
from typing import NamedTuple

import numpy as np
from scipy import special  # scipy.stats has the same quantiles, and takes a second to import

CONFIDENCE = 0.95
ROUNDING = 1e-9  # spread below this share of the greatest value is what floating point left of equal values


class MeanError(NamedTuple):
    """A mean, its standard error, and the degrees of freedom that the error was estimated with."""

    mean: float
    error: float
    degrees: int


@functools.cache
def t_quantile(degrees: int) -> float:
    """The t that a two-sided 95 % interval reaches."""
    return float(special.stdtrit(degrees, 0.5 + CONFIDENCE / 2))


def spread(values: np.ndarray) -> float:
    """Standard deviation of at least two values; exactly 0 where they differ by rounding only."""
    found = float(np.std(values, ddof=1))
    return found if found > ROUNDING * float(np.max(np.abs(values))) else 0.0


def mean_error(values: np.ndarray, pilot: int | None = None) -> MeanError:
    """Mean and standard error of independent `values`; an error of NaN for fewer than two.

    pilot: how many of the first values decided how many followed (`stopping`): the spread is then theirs alone.
    """
    values = np.asarray(values, dtype=float)
    first = values if pilot is None else values[:pilot]
    error = spread(first) / math.sqrt(len(values)) if len(first) > 1 else math.nan
    return MeanError(float(np.mean(values)), error, len(first) - 1)


def t_interval(values: np.ndarray, pilot: int | None = None) -> tuple[float, float]:
    """The two-sided 95 % Student t interval of the mean of independent `values`; NaN for fewer than two.

    pilot: as `mean_error`.
    """
    mean, error, degrees = mean_error(values, pilot)
    half = t_quantile(degrees) * error if degrees > 0 else math.nan
    return mean - half, mean + half


def t_p_value(values: np.ndarray, pilot: int | None = None) -> float:
    """The two-sided p value of Student's t test that the mean is 0: below 0.05 exactly where `t_interval` leaves out 0.

    NaN for fewer than two values and for values without spread. pilot: as `mean_error`.
    """
    mean, error, degrees = mean_error(values, pilot)
    if degrees < 1 or error == 0.0:
        return math.nan
    return float(2.0 * special.stdtr(degrees, -abs(mean) / error))
