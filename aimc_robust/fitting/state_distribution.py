"""The distribution of the measured state that a fitted card predicts, without simulation."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

from aimc_robust.devices.card import Card
from aimc_robust.devices.laws.power_law_drift import ClippedLog, PowerLawDrift
from aimc_robust.devices.laws.table_drift import TableDrift
from aimc_robust.fitting.std_laws import std_at

# Gauss-Hermite nodes and weights of a standard normal number: the random exponent of a power law.
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(41)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


class StateDistribution(NamedTuple):
    """A state max(0, N(center, std^2)) * factor for each of n cells.

    `center` and `std` (n,) are in the card's unit; `factor` (n, nodes) takes its values with the probabilities
    `weights` (nodes,).
    """

    center: np.ndarray
    std: np.ndarray
    factor: np.ndarray
    weights: np.ndarray

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the state, each (n,) [card.unit]: closed form of a Gaussian cut at 0."""
        std = np.maximum(self.std, 1e-300)
        with np.errstate(over="ignore"):
            ratio = self.center / std
            density = np.exp(-0.5 * ratio**2) / np.sqrt(2.0 * np.pi)
        first = self.center * ndtr(ratio) + std * density
        second = (self.center**2 + std**2) * ndtr(ratio) + self.center * std * density
        mean = first * (self.factor @ self.weights)
        square = second * (self.factor**2 @ self.weights)
        return mean, np.sqrt(np.maximum(square - mean**2, 0.0))

    def cdf(self, value: np.ndarray, known: np.ndarray) -> np.ndarray:
        """P(state + N(0, known) <= value) before the cut at 0, for measured states and variances of reading (n,)."""
        scaled = value[:, None] / self.factor - self.center[:, None]
        variance = self.std[:, None] ** 2 + known[:, None] / self.factor**2
        return ndtr(scaled / np.sqrt(np.maximum(variance, 1e-300))) @ self.weights


def state_distribution(card: Card, target: np.ndarray, time_s: float) -> StateDistribution:
    """The distribution of the state of cells with targets (n,) [card.unit] at `time_s` since the card's time 0.

    For the cards that `fit_card` makes: a normal programming error cut at 0, and no drift, a table or a power law.
    """
    center, std, drift = target, std_at(card.programming, target), card.drift
    one = np.ones((len(target), 1))
    if drift is None or time_s <= drift.starts_s:
        return StateDistribution(center, std, one, np.ones(1))
    if isinstance(drift, TableDrift):
        shift, law = drift.interpolate(time_s)
        center = target + np.polynomial.polynomial.polyval(target, shift or (0.0,))
        return StateDistribution(center, std_at(law, center), one, np.ones(1))
    if isinstance(drift, PowerLawDrift):
        x_ln = np.log(np.maximum(target / drift.reference, 1e-300))[:, None]
        nu = np.abs(_clipped_log(drift.exponent_mean, x_ln) + _clipped_log(drift.exponent_std, x_ln) * NODES)
        return StateDistribution(center, std, np.exp(-nu * np.log1p(time_s / drift.t0_s)), WEIGHTS)
    raise TypeError(f"{type(drift).__name__} is not a law that is fitted.")


def _clipped_log(law: ClippedLog, x_ln: np.ndarray) -> np.ndarray:
    return np.clip(law.slope_ln * x_ln + law.offset, law.min, law.max)
