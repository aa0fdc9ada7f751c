"""The laws of a standard deviation that `fit_card` can fit, in NumPy, and the digits that their numbers keep."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import torch

from aimc_robust.devices.laws.base import Law
from aimc_robust.devices.laws.empirical import Empirical
from aimc_robust.devices.laws.polynomial import Polynomial
from aimc_robust.devices.laws.saturating_exponential import SaturatingExponential
from aimc_robust.io.toml import StrictModel

FittedStd: TypeAlias = Polynomial | SaturatingExponential
"""The laws that are fitted."""

POLYNOMIAL_NAMES = ("constant", "linear", "quadratic", "cubic", "quartic")
DIGITS = 7  # of the numbers in a fitted card


def std_at(law: Law | None, state: np.ndarray) -> np.ndarray:
    """Evaluate a law's standard deviation at states of any shape [unit]; without a law it is 0."""
    if law is None:
        return np.zeros_like(state, dtype=float)
    if isinstance(law, Polynomial):
        return np.maximum(np.polynomial.polynomial.polyval(state / law.reference, law.coefficients), 0.0)
    if isinstance(law, SaturatingExponential):
        return law.amplitude * -np.expm1(-np.asarray(state) / law.constant)
    if isinstance(law, Empirical):
        return law.std(torch.from_numpy(np.asarray(state, dtype=float))).numpy()
    raise TypeError(f"{type(law).__name__} is not a law that is fitted.")


def std_gradient(law: Law, state: np.ndarray) -> np.ndarray:
    """Derivatives (n, parameters) of the standard deviation at states (n,) with respect to the law's parameters."""
    if isinstance(law, Polynomial):
        return (state[:, None] / law.reference) ** np.arange(len(law.coefficients))
    if isinstance(law, SaturatingExponential):
        decay = np.exp(-state / law.constant)
        return np.column_stack([1.0 - decay, -law.amplitude * decay * state / law.constant**2])
    raise TypeError(f"{type(law).__name__} is not a law that is fitted.")


def law_name(law: Law) -> str:
    """Name of a law's family: constant, linear, ..., saturating exponential, empirical."""
    if isinstance(law, Empirical):
        return f"empirical, quantiles at {len(law.at)} targets"
    return POLYNOMIAL_NAMES[len(law.coefficients) - 1] if isinstance(law, Polynomial) else "saturating exponential"


def rounded(value: Any) -> Any:
    """Return a number, or a tuple, table or law of numbers, with every number rounded to 7 significant digits."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, tuple):
        return tuple(map(rounded, value))
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, StrictModel):
        return type(value).model_validate(rounded(value.model_dump()))
    return value
