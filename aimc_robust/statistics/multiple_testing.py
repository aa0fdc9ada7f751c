"""Correction of p values for the number of comparisons."""

import math

import numpy as np
from numpy.typing import ArrayLike

from aimc_robust.errors import InputError, short_repr


def holm(p_values: ArrayLike) -> np.ndarray:
    """Adjust p values by Holm's step-down method, which controls the family-wise error rate.

    The i-th smallest of m p values is multiplied by m - i + 1, raised to the preceding adjusted value if that is
    greater, and clipped to 1. Rejecting at 0.05 gives at most a 5 % chance of any false rejection, whatever the
    dependence between the tests.

    Args:
        p_values: p values in [0, 1], shape (m,). NaN (no test was possible) stays NaN and does not count in m.

    Raises:
        InputError: if `p_values` is not one-dimensional or holds a value outside [0, 1].

    References:
        Holm, Scand. J. Statist. 6, 65 (1979).
    """
    try:
        values = np.asarray(p_values, dtype=float)
    except (TypeError, ValueError):
        values = np.array(math.nan)  # of no dimension
    tested = ~np.isnan(values)
    if values.ndim != 1 or ((values[tested] < 0.0) | (values[tested] > 1.0)).any():
        raise InputError(f"p_values must be a one-dimensional list of values from 0 to 1, got {short_repr(p_values)}.")
    order = np.flatnonzero(tested)[np.argsort(values[tested])]
    adjusted = np.full(len(values), np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(values[order] * np.arange(len(order), 0, -1)), 1.0)
    return adjusted
