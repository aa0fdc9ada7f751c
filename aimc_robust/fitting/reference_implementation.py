"""The distribution of states that a card's formulas state: closed forms and dense quadrature, in NumPy float64.

Nothing here or in `reference_laws` and `reference_drift` calls the code that simulates devices, so that the two
implementations can be compared (`verify`). States in [card.unit], times in [s].
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import ndtr

from aimc_robust.devices.card import Card
from aimc_robust.fitting.reference_drift import RandomDriftReference, TableReference, drift_reference
from aimc_robust.fitting.reference_laws import reference_std

ERROR_NODES, DRIFT_NODES = 801, 201


@dataclass(frozen=True)
class Reference:
    """The distribution over cells of the state of one target at one time, without stuck cells.

    Attributes:
        card: The card.
        target: Target state [card.unit].
        time_s: Seconds since programming.
    """

    card: Card
    target: float
    time_s: float

    @property
    def error(self) -> float:
        """Standard deviation of the programming error."""
        return float(reference_std(self.card.programming, self.target))

    @cached_property
    def drift(self) -> TableReference | RandomDriftReference | None:
        """The drift at this target and time; None while the programming error holds."""
        law = self.card.drift
        if law is None or self.time_s <= law.starts_s:
            return None
        return drift_reference(law, self.target, self.time_s)

    def bounds(self, *, aged: bool) -> tuple[float, float]:
        """What states are clipped to: programmed states, or drifted ones (`aged`)."""
        if (self.card.drift_clip if aged else self.card.programming_clip) == "nonnegative":
            return 0.0, math.inf
        return self.card.limits if aged else self.card.window

    @cached_property
    def nodes(self) -> tuple[np.ndarray, np.ndarray]:
        """States and their probabilities, flat."""
        xi, p = (_uniform if self.card.programming_distribution == "uniform" else _normal)(ERROR_NODES)
        if isinstance(self.drift, TableReference):
            return self._clipped(self.drift.center + self.drift.width * xi, aged=True), p
        programmed = self._clipped(self.target + self.error * xi, aged=False)
        if self.drift is None:
            return programmed, p
        eta, q = _normal(DRIFT_NODES)
        state = self._clipped(self.drift.aged(programmed[:, None], eta), aged=True)
        return state.ravel(), np.outer(p, q).ravel()

    @cached_property
    def moments(self) -> tuple[float, float, float]:
        """Mean, variance and fourth central moment."""
        state, p = self.nodes
        mean = float(state @ p)
        square = (state - mean) ** 2
        return mean, float(square @ p), float(square**2 @ p)

    def cdf(self, state: np.ndarray) -> np.ndarray:
        """P(state of a cell <= `state`), (n,)."""
        if self.drift is None:
            return self._programmed_cdf(state)
        if isinstance(self.drift, TableReference):
            return self._cut(state, self._error_cdf(state, self.drift.center, self.drift.width), aged=True)
        eta, q = _normal(DRIFT_NODES)
        return self._cut(state, self._programmed_cdf(self.drift.programmed_from(state, eta)) @ q, aged=True)

    def drawn(self, programmed: np.ndarray, now: np.ndarray) -> np.ndarray:
        """The draw that leads from `programmed` to `now` (n,).

        xi of a table, the exponent of a power law, eta of a logarithmic drift. NaN where clipping hides it, or where
        nothing is drawn.
        """
        assert self.drift is not None, "only a drifted state has a draw"
        smallest = 1e-9 * self.card.range.max
        low, high = self.bounds(aged=True)
        hidden = (now <= low + smallest) | (now >= high - smallest)
        if isinstance(self.drift, TableReference):
            draw = self.drift.drawn(now, smallest)
        else:
            draw = self.drift.drawn(programmed, now, smallest)
        return np.where(hidden, np.nan, draw)

    def programming_drawn(self, programmed: np.ndarray) -> np.ndarray:
        """The draw xi of the programming error (n,); NaN where clipping hides it."""
        low, high = self.bounds(aged=False)
        xi = (programmed - self.target) / self.error
        return np.where((programmed > low) & (programmed < high), xi, np.nan)

    def _clipped(self, state: np.ndarray, *, aged: bool) -> np.ndarray:
        low, high = self.bounds(aged=aged)
        return np.minimum(np.maximum(state, low), high)

    def _programmed_cdf(self, state: np.ndarray) -> np.ndarray:
        return self._cut(state, self._error_cdf(state, self.target, self.error), aged=False)

    def _error_cdf(self, state: np.ndarray, center: float, width: float) -> np.ndarray:
        if width == 0:
            return (state >= center).astype(float)
        xi = (state - center) / width
        if self.card.programming_distribution == "uniform":
            return np.clip(0.5 + xi / (2.0 * math.sqrt(3.0)), 0.0, 1.0)
        return ndtr(xi)

    def _cut(self, state: np.ndarray, cdf: np.ndarray, *, aged: bool) -> np.ndarray:
        """The distribution function of the clipped state."""
        low, high = self.bounds(aged=aged)
        return np.where(state < low, 0.0, np.where(state >= high, 1.0, cdf))


def _normal(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of a standard normal number, by the trapezoidal rule within 8.5 standard deviations."""
    nodes = np.linspace(-8.5, 8.5, count)
    weights = np.exp(-0.5 * nodes**2)
    return nodes, weights / weights.sum()


def _uniform(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of a uniform number of mean 0 and standard deviation 1."""
    half = math.sqrt(3.0)
    return half * ((np.arange(count) + 0.5) * 2.0 / count - 1.0), np.full(count, 1.0 / count)
