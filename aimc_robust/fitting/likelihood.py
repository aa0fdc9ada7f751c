"""Likelihood of deviations whose standard deviation follows a law."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import log_ndtr


class Sample(NamedTuple):
    """Deviations from a mean, each array (n,).

    Attributes:
        state: Where the law is evaluated [unit].
        deviation: Deviation from the mean [unit].
        freedom: Degrees of freedom of its square; 1 for a single deviation.
        known: Variance that the law does not explain [unit^2].
        cut: Whether the state was cut off at 0, so that the deviation is an upper bound.
    """

    state: np.ndarray
    deviation: np.ndarray
    freedom: np.ndarray
    known: np.ndarray
    cut: np.ndarray


def negative_log_likelihood(std: np.ndarray, sample: Sample) -> tuple[float, np.ndarray]:
    """Negative log likelihood of Gaussian deviations.

    sum freedom / 2 * (ln V + deviation^2 / V), V = std^2 + known; -ln Phi(deviation / sqrt(V)) for those cut off,
    the probability of all states below the cut.

    Args:
        std: Standard deviations of the law (n,) [unit].
        sample: The deviations.

    Returns:
        The value, and its derivatives with respect to `std` (n,).
    """
    variance = std**2 + sample.known
    ratio = sample.deviation**2 / variance
    value = 0.5 * sample.freedom * (np.log(variance) + ratio)
    by_variance = 0.5 * sample.freedom * (1.0 - ratio) / variance
    if sample.cut.any():
        cut = sample.cut
        a = sample.deviation[cut] / np.sqrt(variance[cut])
        value[cut] = -log_ndtr(a)
        hazard = np.exp(-0.5 * a**2 - 0.5 * np.log(2.0 * np.pi) - log_ndtr(a))
        by_variance[cut] = 0.5 * hazard * a / variance[cut]
    return float(value.sum()), by_variance * 2.0 * std


def deviance(std: np.ndarray, sample: Sample) -> float:
    """-2 log likelihood. A state without error that shows none costs nothing."""
    certain = (std == 0) & (sample.known == 0) & (sample.deviation == 0)
    uncertain = Sample(*(values[~certain] for values in sample))
    return 2.0 * negative_log_likelihood(np.maximum(std[~certain], 1e-12), uncertain)[0]
