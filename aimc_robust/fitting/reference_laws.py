"""The formulas of programming error and read noise, implemented independently of `devices`, in NumPy float64."""

from __future__ import annotations

import math

import numpy as np

from aimc_robust.devices.laws.base import Law
from aimc_robust.devices.laws.log10_one_over_f_read import Log10OneOverFRead
from aimc_robust.devices.laws.no_error import NoError
from aimc_robust.devices.laws.one_over_f_read import OneOverFRead
from aimc_robust.devices.laws.polynomial import Polynomial
from aimc_robust.devices.laws.saturating_exponential import SaturatingExponential
from aimc_robust.errors import InputError


def no_reference(law: Law) -> InputError:
    """The error for a law that has no reference implementation."""
    return InputError(f"verify has no reference implementation of {type(law).__name__}; add one to fitting/reference*.")


def reference_std(law: Law, state: np.ndarray | float) -> np.ndarray:
    """Standard deviation of a law over the state, at least 0.

    Args:
        law: No error, a polynomial or a saturating exponential.
        state: States, any shape [card.unit].

    Raises:
        InputError: If the law has no reference.
    """
    state = np.asarray(state, dtype=float)
    if isinstance(law, NoError):
        return np.zeros_like(state)
    if isinstance(law, Polynomial):
        value = sum((c * (state / law.reference) ** i for i, c in enumerate(law.coefficients)), np.zeros_like(state))
    elif isinstance(law, SaturatingExponential):
        value = law.amplitude * (1.0 - np.exp(-state / law.constant))
    else:
        raise no_reference(law)
    return np.maximum(value, 0.0)


def reference_read_std(law: Law, programmed: np.ndarray, now: np.ndarray, time_s: float) -> np.ndarray:
    """Standard deviation of one read.

    Args:
        law: Law of the read noise.
        programmed: States right after programming, any shape [card.unit].
        now: Present states, same shape [card.unit].
        time_s: Seconds since programming.

    Raises:
        InputError: If the law has no reference.
    """
    if isinstance(law, OneOverFRead):
        with np.errstate(divide="ignore"):
            relative = np.minimum(law.q * (programmed / law.reference) ** -law.exponent, law.q_max)
        return now * relative * _growth(time_s + law.t0_s, law.t_read_s)
    if isinstance(law, Log10OneOverFRead):
        strength = np.maximum(law.coefficient * np.log10(np.maximum(now, 1e-300)), 0.0)
        return strength * _growth(time_s + law.t0_s, law.t_read_s)
    return reference_std(law, now)


def _growth(time_s: float, t_read_s: float) -> float:
    return math.sqrt(max(math.log((time_s + t_read_s) / (2.0 * t_read_s)), 0.0))
