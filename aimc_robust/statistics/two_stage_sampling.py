"""Stein's two-stage sampling: pilot chips decide how many chips reach a requested half-width.

Stopping as soon as the interval is narrow enough selects moments at which the spread happens to look small, so such
intervals cover less than 95 %. In Stein's method the standard deviation of the pilot alone decides the number of chips
and alone gives the interval. For normally distributed values it is independent of the mean, so the coverage is
exactly 95 % whatever number of chips follows, also if a cap ends sampling early (the interval is then wider than
requested). Skewed values reduce the coverage: to about 93 % at a skewness of 1 and 88 to 90 % at 2
(docs/explanation/statistics.md). For such devices a fixed number of chips and `Estimate.skewed_ci` cover better.

References:
    C. Stein, A two-sample test for a linear hypothesis whose power is independent of the variance, Ann. Math. Statist.
    16, 243 (1945).
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from aimc_robust.errors import InputError, require_finite
from aimc_robust.statistics.t_interval import mean_error, sample_std, t_quantile

DEFAULT_PILOT = 10  # chips; fewer make t, and so the number of chips, large; more are wasted on devices with low noise


def chips_needed(pilot_values: ArrayLike, half_width: float) -> int:
    """Number of chips, pilot included, for a 95 % half-width of at most `half_width`, in the values' unit.

    N = max(n, ceil((t s / half_width)^2)), with s the standard deviation of the n pilot values and t the
    0.975 quantile of Student's t at n - 1 degrees of freedom. Equal pilot values require no further chips; the interval
    then has width 0 and only states that the pilot saw no spread.

    Raises:
        InputError: if there are fewer than 2 values, or an argument is invalid.
    """
    values = np.asarray(pilot_values, dtype=float)
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        raise InputError(f"pilot_values must be a list of at least 2 finite values, got {pilot_values!r}.")
    require_finite("half_width", half_width)
    if half_width == 0.0:
        raise InputError("half_width must be greater than 0, got 0: no number of chips gives an interval of width 0.")
    return max(len(values), math.ceil((t_quantile(len(values) - 1) * sample_std(values) / half_width) ** 2))


def cap_note(values: ArrayLike, half_width: float, pilot: int = DEFAULT_PILOT, *, unit: str = "points") -> str | None:
    """Say which half-width was reached if a cap ended sampling early; None if the requested one was.

    `values` are those of the chips in their order, at least 2; `unit` is that of their differences.
    """
    values = np.asarray(values, dtype=float)
    needed, reached = chips_needed(values[:pilot], half_width), mean_error(values, pilot).half_width()
    if needed <= len(values):
        return None
    reached_text = f"±{reached:.2g} {unit}".rstrip()
    return f"{reached_text} with {len(values)} chips; ±{half_width:g} needs {needed} chips"
