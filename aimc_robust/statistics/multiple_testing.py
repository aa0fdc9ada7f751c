"""p values of many comparisons at once."""

import numpy as np

from aimc_robust.errors import InputError


def holm(p_values: np.ndarray) -> np.ndarray:
    """Adjusted p values: those at or below 0.05 hold all together with at most 5 % chance of any false one.

    Step-down Bonferroni: the i-th smallest of m is multiplied by m - i + 1, then raised to the one before it if that
    is greater, and cut at 1. Holds whatever the dependence between the tests.
    p_values: shape (m,), within 0 and 1; NaN (no test was possible) stays NaN and does not count. Returns shape (m,).
    Raises InputError. Source: Holm, Scand. J. Statist. 6, 65 (1979).
    """
    found = np.asarray(p_values, dtype=float)
    tested = ~np.isnan(found)
    if found.ndim != 1 or ((found[tested] < 0.0) | (found[tested] > 1.0)).any():
        raise InputError(f"holm needs a list of p values within 0 and 1, got {p_values!r}.")
    order = np.flatnonzero(tested)[np.argsort(found[tested])]
    adjusted = np.full(len(found), np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(found[order] * np.arange(len(order), 0, -1)), 1.0)
    return adjusted
