"""What a card's formulas say, once more and in another way: NumPy, float64, closed forms and dense quadrature.

Written from the formulas in `devices.kinds` alone; nothing here calls the code that simulates devices, so that the two
can be held against each other (`verify`). States and widths in [card.unit], times in [s].
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import ndtr

from aimc_robust.devices.card import Card

NORMAL_NODES, AGEING_NODES = 801, 201


def _normal(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of a standard normal, by the trapezium rule out to 8.5 standard deviations."""
    nodes = np.linspace(-8.5, 8.5, count)
    weights = np.exp(-0.5 * nodes**2)
    return nodes, weights / weights.sum()


def _uniform(count: int) -> tuple[np.ndarray, np.ndarray]:
    """The same of a uniform with mean 0 and standard deviation 1."""
    half = math.sqrt(3.0)
    return half * ((np.arange(count) + 0.5) * 2.0 / count - 1.0), np.full(count, 1.0 / count)


def law_std(law: object, state: np.ndarray | float) -> np.ndarray:
    """sigma(state) of a polynomial or a saturating exponential, at least 0."""
    state = np.asarray(state, dtype=float)
    if law.kind == "none":
        return np.zeros_like(state)
    if law.kind == "polynomial":
        value = sum(c * (state / law.reference) ** i for i, c in enumerate(law.coefficients))
    else:
        value = law.amplitude * (1.0 - np.exp(-state / law.constant))
    return np.maximum(value, 0.0)


def table_row(drift: object, target: float, time_s: float) -> tuple[float, float]:
    """(centre, width) of a table's row at `time_s`, for one target."""
    rows = drift.at
    scale = np.log10 if drift.interpolation == "log" else np.asarray
    last = next((i for i in range(1, len(rows)) if rows[i].time_s >= time_s), len(rows) - 1)
    a, b = rows[last - 1], rows[last]
    w = float((scale(time_s) - scale(a.time_s)) / (scale(b.time_s) - scale(a.time_s)))

    def mixed(x: tuple[float, ...], y: tuple[float, ...]) -> np.ndarray:
        size = max(len(x), len(y), 1)
        x, y = (np.pad(np.asarray(v, dtype=float), (0, size - len(v))) for v in (x, y))
        return x + w * (y - x)

    centre = target + float(np.polyval(mixed(a.shift, b.shift)[::-1], target))
    if a.std.kind == "polynomial":
        c = mixed(a.std.coefficients, b.std.coefficients)
        width = float(np.polyval(c[::-1], centre / a.std.reference))
    else:
        amplitude, constant = mixed((a.std.amplitude, a.std.constant), (b.std.amplitude, b.std.constant))
        width = amplitude * -math.expm1(-centre / max(constant, 1e-6))
    return centre, max(width, 0.0)


def exponent(drift: object, target: float) -> tuple[float, float]:
    """(mean, standard deviation) of the exponent of a power law before its absolute value is taken."""
    x_ln = math.log(target / drift.reference) if target > 0 else -700.0
    laws = (drift.exponent_mean, drift.exponent_std)
    return tuple(min(max(law.slope_ln * x_ln + law.offset, law.min), law.max) for law in laws)


def ageing_ln(drift: object, time_s: float) -> tuple[float, float]:
    """(mean, standard deviation) of what a logarithmic drift adds to the state."""
    t_ln = math.log(max(time_s, 1.0))
    return drift.mean_ln * t_ln, max(drift.std_ln * t_ln + drift.std_offset, 0.0)


def read_sigma(card: Card, programmed: np.ndarray, now: np.ndarray, time_s: float) -> np.ndarray:
    """Standard deviation of one read of cells `programmed` so and `now` so."""
    law = card.read
    if law.kind in ("polynomial", "saturating-exponential"):
        return law_std(law, now)
    t = time_s + law.t0_s
    growth = math.sqrt(max(math.log((t + law.t_read_s) / (2.0 * law.t_read_s)), 0.0))
    if law.kind == "one-over-f":
        with np.errstate(divide="ignore"):
            relative = np.minimum(law.q * (programmed / law.reference) ** -law.exponent, law.q_max)
        return now * relative * growth
    return np.maximum(law.coefficient * np.log10(np.maximum(now, 1e-300)), 0.0) * growth


@dataclass(frozen=True)
class Reference:
    """The distribution over cells of the state of one target at one time, without stuck cells."""

    card: Card
    target: float
    time_s: float

    @property
    def error(self) -> float:
        """sigma of the programming error."""
        return float(law_std(self.card.programming, self.target))

    @property
    def aged(self) -> bool:
        """Whether the drift's law acts, beyond the programming error."""
        drift = self.card.drift
        return drift is not None and self.time_s > (drift.at[0].time_s if drift.kind == "table" else 0.0)

    def clipped(self, state: np.ndarray, *, aged: bool) -> np.ndarray:
        """States as the card cuts them off."""
        low, high = self.bounds(aged=aged)
        return np.minimum(np.maximum(state, low), high)

    def bounds(self, *, aged: bool) -> tuple[float, float]:
        """What states are cut off at."""
        clip = self.card.drift.clip if aged else self.card.programming.clip
        if clip == "nonnegative":
            return 0.0, math.inf
        return tuple(self.card.range.limits) if aged else (self.card.range.min, self.card.range.max)

    @cached_property
    def nodes(self) -> tuple[np.ndarray, np.ndarray]:
        """(states, their probabilities), flat."""
        card = self.card
        xi, p = (_uniform if card.programming.distribution == "uniform" else _normal)(NORMAL_NODES)
        if self.aged and card.drift.kind == "table":
            centre, width = table_row(card.drift, self.target, self.time_s)
            return self.clipped(centre + width * xi, aged=True), p
        programmed = self.clipped(self.target + self.error * xi, aged=False)
        if not self.aged:
            return programmed, p
        eta, q = _normal(AGEING_NODES)
        state = self.clipped(self.grown(programmed[:, None], eta), aged=True)
        return state.ravel(), np.outer(p, q).ravel()

    def grown(self, programmed: np.ndarray, eta: np.ndarray) -> np.ndarray:
        """The state of `programmed` cells whose drift is drawn as `eta`, before it is cut off."""
        drift = self.card.drift
        if drift.kind == "power-law":
            mean, std = exponent(drift, self.target)
            return programmed * ((self.time_s + drift.t0_s) / drift.t0_s) ** -np.abs(mean + std * eta)
        mean, std = ageing_ln(drift, self.time_s)
        return programmed + mean + std * eta

    @cached_property
    def moments(self) -> tuple[float, float, float]:
        """(mean, variance, fourth central moment)."""
        state, p = self.nodes
        mean = float(state @ p)
        square = (state - mean) ** 2
        return mean, float(square @ p), float(square**2 @ p)

    def below(self, state: np.ndarray) -> np.ndarray:
        """P(state of a cell <= `state`), (n,)."""
        if self.aged and self.card.drift.kind == "table":
            centre, width = table_row(self.card.drift, self.target, self.time_s)
            return self._cut(state, self._error_below(state, centre, width), aged=True)
        if not self.aged:
            return self._programmed_below(state)
        eta, q = _normal(AGEING_NODES)
        drift = self.card.drift
        if drift.kind == "power-law":
            inner = state[:, None] / self.grown(np.ones(1), eta)
        else:
            inner = state[:, None] + (0.0 - self.grown(np.zeros(1), eta))
        return self._cut(state, self._programmed_below(inner) @ q, aged=True)

    def _programmed_below(self, state: np.ndarray) -> np.ndarray:
        return self._cut(state, self._error_below(state, self.target, self.error), aged=False)

    def _error_below(self, state: np.ndarray, centre: float, width: float) -> np.ndarray:
        if width == 0:
            return (state >= centre).astype(float)
        xi = (state - centre) / width
        if self.card.programming.distribution == "uniform":
            return np.clip(0.5 + xi / (2.0 * math.sqrt(3.0)), 0.0, 1.0)
        return ndtr(xi)

    def _cut(self, state: np.ndarray, below: np.ndarray, *, aged: bool) -> np.ndarray:
        low, high = self.bounds(aged=aged)
        return np.where(state < low, 0.0, np.where(state >= high, 1.0, below))

    def drawn(self, programmed: np.ndarray, now: np.ndarray) -> np.ndarray:
        """The draw of ageing that leads from `programmed` to `now` (n,): xi of a table, the exponent of a power law,
        eta of a logarithmic drift; NaN where a cut hides it, or where nothing is drawn."""
        drift, high = self.card.drift, self.card.range.max
        low_cut, high_cut = self.bounds(aged=True)
        hidden = (now <= low_cut + 1e-9 * high) | (now >= high_cut - 1e-9 * high)
        if drift.kind == "table":
            centre, width = table_row(drift, self.target, self.time_s)
            found = (now - centre) / width if width > 1e-9 * high else np.full_like(now, np.nan)
        elif drift.kind == "power-law":
            hidden |= programmed <= 0
            ratio = np.where(hidden, 1.0, now) / np.where(hidden, 1.0, programmed)
            found = -np.log(ratio) / math.log1p(self.time_s / drift.t0_s)
        else:
            mean, std = ageing_ln(drift, self.time_s)
            found = (now - programmed - mean) / std if std > 1e-9 * high else np.full_like(now, np.nan)
        return np.where(hidden, np.nan, found)

    def drawn_below(self, value: np.ndarray) -> np.ndarray:
        """P(the draw of ageing <= value), (n,), for a power law or a logarithmic drift."""
        if self.card.drift.kind == "logarithmic":
            return ndtr(value)
        mean, std = exponent(self.card.drift, self.target)
        if std == 0:
            return (value >= abs(mean) - 1e-9).astype(float)
        return np.where(value < 0, 0.0, ndtr((value - mean) / std) - ndtr((-value - mean) / std))
