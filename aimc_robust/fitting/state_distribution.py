"""The distribution of the measured state that a fitted card predicts, without simulation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import ndtr

from aimc_robust.devices.card import Card
from aimc_robust.devices.laws.clipped_log import ClippedLog
from aimc_robust.devices.laws.empirical import Empirical
from aimc_robust.devices.laws.power_law_drift import PowerLawDrift
from aimc_robust.devices.laws.table_drift import TableDrift
from aimc_robust.fitting.std_laws import std_at

# Gauss-Hermite nodes and weights of a standard normal number: the random exponent of a power law.
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(41)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


class StateDistribution(NamedTuple):
    """A state max(0, N(center, std^2)) * factor for each of n cells.

    `center` and `std` (n,) are in the card's unit; `factor` (n, nodes) takes its values with the probabilities
    `weights` (nodes,). With an empirical law the state is center + std * xi, xi (n, nodes) <= x with the probability
    `below(x)`; its moments are those of a normal xi.
    """

    center: np.ndarray
    std: np.ndarray
    factor: np.ndarray
    weights: np.ndarray
    below: Callable[[np.ndarray], np.ndarray] = ndtr

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
        return self.below(scaled / np.sqrt(np.maximum(variance, 1e-300))) @ self.weights


def state_distribution(card: Card, target: np.ndarray, time_s: float) -> StateDistribution:
    """The distribution of the state of cells with targets (n,) [card.unit] at `time_s` since the card's time 0.

    For the cards that `fit_card` makes: a normal or empirical programming error cut at 0, and no drift, a table or a
    power law; no table with an empirical error.
    """
    center, std, drift = target, std_at(card.programming, target), card.drift
    one, below = np.ones((len(target), 1)), ndtr
    if isinstance(card.programming, Empirical):
        center = target + card.programming.mean(torch.from_numpy(target)).numpy()
        below = partial(_below, card.programming, target)
    if drift is None or time_s <= drift.starts_s:
        return StateDistribution(center, std, one, np.ones(1), below)
    if isinstance(drift, TableDrift):
        shift, law = drift.interpolate(time_s)
        center = target + np.polynomial.polynomial.polyval(target, shift or (0.0,))
        return StateDistribution(center, std_at(law, center), one, np.ones(1))
    if isinstance(drift, PowerLawDrift):
        x_ln = np.log(np.maximum(target / drift.reference, 1e-300))[:, None]
        nu = np.abs(_clipped_log(drift.exponent_mean, x_ln) + _clipped_log(drift.exponent_std, x_ln) * NODES)
        return StateDistribution(center, std, np.exp(-nu * np.log1p(time_s / drift.t0_s)), WEIGHTS, below)
    raise TypeError(f"{type(drift).__name__} is not a law that is fitted.")


def _below(law: Empirical, target: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Probability of an error below its mean + x standard deviations, x (n, nodes), for each of n targets."""
    u = torch.tensor(law.probabilities, dtype=torch.float64)
    cells = torch.from_numpy(target).double()
    grid = cells[:, None].expand(-1, len(u)).contiguous()
    xi = law.error(grid, lambda effect, like: u.expand_as(like))
    mean = law.mean(cells).div(law.std(cells).clamp_(min=1e-300))
    rows = zip(x, (xi - mean[:, None]).numpy(), strict=True)
    return np.array([np.interp(values, row, law.probabilities) for values, row in rows])


def _clipped_log(law: ClippedLog, x_ln: np.ndarray) -> np.ndarray:
    return np.clip(law.slope_ln * x_ln + law.offset, law.min, law.max)
