"""Evaluate the laws of a standard deviation that `fit_card` can fit, in NumPy."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from aimc_robust.devices.laws.base import Law
from aimc_robust.devices.laws.polynomial import Polynomial
from aimc_robust.devices.laws.saturating_exponential import SaturatingExponential

FittedStd: TypeAlias = Polynomial | SaturatingExponential
"""The laws that are fitted."""

POLYNOMIAL_NAMES = ("constant", "linear", "quadratic", "cubic", "quartic")


def std_at(law: Law | None, state: np.ndarray) -> np.ndarray:
    """Evaluate a law's standard deviation.

    Args:
        law: A polynomial or a saturating exponential; None for no error.
        state: States, any shape [unit].

    Returns:
        Standard deviations of the same shape [unit], at least 0.

    Raises:
        TypeError: For another law, which `fit_card` does not fit.
    """
    if law is None:
        return np.zeros_like(state, dtype=float)
    if isinstance(law, Polynomial):
        return np.maximum(np.polynomial.polynomial.polyval(state / law.reference, law.coefficients), 0.0)
    if isinstance(law, SaturatingExponential):
        return law.amplitude * -np.expm1(-np.asarray(state) / law.constant)
    raise TypeError(f"{type(law).__name__} is not a law that is fitted.")


def std_gradient(law: Law, state: np.ndarray) -> np.ndarray:
    """Derivatives of the standard deviation with respect to the law's parameters.

    Args:
        law: A polynomial or a saturating exponential.
        state: States (n,) [unit].

    Returns:
        Derivatives (n, parameters).

    Raises:
        TypeError: For another law, which `fit_card` does not fit.
    """
    if isinstance(law, Polynomial):
        return (state[:, None] / law.reference) ** np.arange(len(law.coefficients))
    if isinstance(law, SaturatingExponential):
        decay = np.exp(-state / law.constant)
        return np.column_stack([1.0 - decay, -law.amplitude * decay * state / law.constant**2])
    raise TypeError(f"{type(law).__name__} is not a law that is fitted.")


def law_name(law: Law) -> str:
    """Name of a law's family: constant, linear, ..., saturating exponential."""
    return POLYNOMIAL_NAMES[len(law.coefficients) - 1] if isinstance(law, Polynomial) else "saturating exponential"
