"""One check of a verification, and the tests that it is made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy import stats

EXACT_TOLERANCE = 1e-6  # of the window: difference up to which non-random values count as equal
MIN_VALUES = 100  # for a check


class Check(NamedTuple):
    """One comparison of simulated cells with what the device states.

    Attributes:
        name: What is compared.
        target: Target state [device.unit]; None if the check covers all targets.
        time_s: Seconds since programming; None if the check covers all times.
        expected: Value that the device states.
        observed: Value of the simulation.
        p: p value of a difference as large; 0 or 1 for values that are not random.
    """

    name: str
    target: float | None
    time_s: float | None
    expected: float
    observed: float
    p: float


def moment_checks(
    of: str,
    target: float,
    time_s: float,
    value: np.ndarray,
    *,
    mean: float = 0.0,
    variance: float = 1.0,
    fourth: float = 3.0,
) -> list[Check]:
    """Z tests of mean and standard deviation of independent values (n,); `of` is what has them, for the checks' names.

    The default mean, variance and fourth central moment are those of a standard normal number.
    """
    found, square, n = float(value.mean()), float(((value - mean) ** 2).mean()), len(value)
    scores = (found - mean) / np.sqrt(variance / n), (square - variance) / np.sqrt((fourth - variance**2) / n)
    p_mean, p_std = (float(2.0 * stats.norm.sf(abs(score))) for score in scores)
    return [
        Check(f"the mean{of}", target, time_s, mean, found, p_mean),
        Check(f"the standard deviation{of}", target, time_s, float(np.sqrt(variance)), float(np.sqrt(square)), p_std),
    ]


def uniformity_check(name: str, target: float | None, time_s: float | None, u: np.ndarray) -> Check:
    """Kolmogorov-Smirnov test that `u` (n,) is uniform on [0, 1]."""
    test = stats.kstest(u, "uniform", method="asymp")
    return Check(name, target, time_s, 0.0, float(test.statistic), float(test.pvalue))


def equality_check(
    name: str, target: float | None, time_s: float | None, expected: float, observed: float, span: float
) -> Check:
    """Check that two values that are not random agree to 1e-6 of `span`."""
    agrees = float(abs(observed - expected) <= EXACT_TOLERANCE * span)
    return Check(name, target, time_s, expected, observed, agrees)


def correlation_checks(name: str, a: np.ndarray, b: np.ndarray) -> Iterator[Check]:
    """Check that `a` and `b` (any equal shape, NaN where missing) are uncorrelated; nothing for too few values."""
    a, b = a.ravel(), b.ravel()
    valid = np.isfinite(a) & np.isfinite(b)
    if valid.sum() >= MIN_VALUES:
        r = float(np.corrcoef(a[valid], b[valid])[0, 1])
        yield Check(name, None, None, 0.0, r, float(2.0 * stats.norm.sf(abs(r) * np.sqrt(valid.sum()))))
