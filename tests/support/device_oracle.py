"""The formulas of device cards, written a second time: the distribution of states and the read noise, in NumPy float64.

Nothing here calls the laws of `aimc_robust.devices`, so that the two implementations can be compared. States in
[card.unit], times in [s].
"""

import itertools
import math

import numpy as np

ERROR_NODES, QUANTILE_NODES, DRIFT_NODES = 801, 20_001, 201


class Reference:
    """The distribution over cells of the state of one target at one time, without stuck cells."""

    def __init__(self, card, target, time_s):
        self.card, self.target, self.time_s = card, target, time_s
        drift = card.drift
        self.drift = None if drift is None or time_s <= drift.starts_s else drift

    def moments(self):
        """Mean and variance, by dense quadrature over programming error and drift."""
        state, p = self._nodes()
        mean = float(state @ p)
        return mean, float((state - mean) ** 2 @ p)

    def _nodes(self):
        """States and their probabilities, flat."""
        card, drift = self.card, self.drift
        xi, p = _error_nodes(card.programming, self.target)
        if drift is not None and drift.kind == "table":
            center, width = _table(drift, self.target, self.time_s)
            return self._clipped(center + width * xi, aged=True), p
        programmed = self._clipped(self.target + reference_std(card.programming, self.target) * xi, aged=False)
        if drift is None:
            return programmed, p
        eta, q = _normal(DRIFT_NODES)
        age = {"power-law": _power_law, "logarithmic": _logarithmic}[drift.kind]
        state = self._clipped(age(drift, self.target, programmed[:, None], eta, self.time_s), aged=True)
        return state.ravel(), np.outer(p, q).ravel()

    def _clipped(self, state, *, aged):
        if (self.card.drift_clip if aged else self.card.programming_clip) == "nonnegative":
            return np.maximum(state, 0.0)
        return np.clip(state, *(self.card.limits if aged else self.card.window))


def reference_std(law, state):
    """Standard deviation of a law over the state, at least 0."""
    state = np.asarray(state, dtype=float)
    if law.kind == "none":
        return np.zeros_like(state)
    if law.kind == "polynomial":
        value = sum((c * (state / law.reference) ** i for i, c in enumerate(law.coefficients)), np.zeros_like(state))
    elif law.kind == "saturating-exponential":
        value = law.amplitude * (1.0 - np.exp(-state / law.constant))
    elif law.kind == "piecewise-linear":
        value = np.array([_piecewise(law.states, law.stds, x) for x in state.ravel()]).reshape(state.shape)
    elif law.kind == "empirical":
        value = np.reshape([_quantiles(law, target).std() for target in state.ravel()], state.shape)
    return np.maximum(value, 0.0)


def reference_read_std(law, programmed, now, time_s):
    """Standard deviation of one read of cells with the states `programmed` at first and `now` at `time_s`."""
    if law.kind == "one-over-f":
        with np.errstate(divide="ignore"):
            relative = np.minimum(law.q * (programmed / law.reference) ** -law.exponent, law.q_max)
        return now * relative * _growth(time_s + law.t0_s, law.t_read_s)
    if law.kind == "clipped-log-one-over-f":
        strength = np.array([clipped_log(law.strength, x) for x in programmed / law.reference])
        return now * strength * _growth(time_s + law.t0_s, law.t_read_s)
    if law.kind == "log10-one-over-f":
        strength = np.maximum(law.coefficient * np.log10(np.maximum(now, 1e-300)), 0.0)
        return strength * _growth(time_s + law.t0_s, law.t_read_s)
    return reference_std(law, now)


def _growth(time_s, t_read_s):
    return math.sqrt(max(math.log((time_s + t_read_s) / (2.0 * t_read_s)), 0.0))


def _power_law(law, target, programmed, eta, time_s):
    """programmed * ((t + t0) / t0)^-nu with nu = |mean + std * eta|."""
    mean, std = (clipped_log(part, target / law.reference) for part in (law.exponent_mean, law.exponent_std))
    return programmed * ((time_s + law.t0_s) / law.t0_s) ** -np.abs(mean + std * eta)


def clipped_log(part, x):
    """A line over ln(x) between two bounds, below the x from which a polynomial holds."""
    if part.polynomial_from is not None and x >= part.polynomial_from:
        return float(np.polyval(part.polynomial[::-1], x))
    return min(max(part.slope_ln * (math.log(x) if x > 0 else -700.0) + part.offset, part.min), part.max)


def _logarithmic(law, target, programmed, eta, time_s):
    """programmed + mean + std * eta."""
    t_ln = math.log(max(time_s, 1.0))
    return programmed + law.mean_ln * t_ln + max(law.std_ln * t_ln + law.std_offset, 0.0) * eta


def _table(law, target, time_s):
    """Center and standard deviation between two rows of a drift table."""
    rows = law.at
    scale = np.log10 if law.interpolation == "log" else np.asarray
    last = next((i for i in range(1, len(rows)) if rows[i].time_s >= time_s), len(rows) - 1)
    a, b = rows[last - 1], rows[last]
    w = float((scale(time_s) - scale(a.time_s)) / (scale(b.time_s) - scale(a.time_s)))
    center = target + float(np.polyval(_mixed(a.shift, b.shift, w)[::-1], target))
    if a.std.kind == "piecewise-linear":
        width = _piecewise(a.std.states, np.maximum(_mixed(a.std.stds, b.std.stds, w), 0.0), center)
    elif a.std.kind == "polynomial":
        c = _mixed(a.std.coefficients, b.std.coefficients, w)
        width = float(np.polyval(c[::-1], center / a.std.reference))
    else:
        amplitude, constant = _mixed((a.std.amplitude, a.std.constant), (b.std.amplitude, b.std.constant), w)
        width = float(amplitude) * -math.expm1(-center / max(float(constant), 1e-6))
    return center, max(width, 0.0)


def _mixed(x, y, w):
    """X + w * (y - x), the shorter padded with zeros."""
    size = max(len(x), len(y), 1)
    a, b = (np.pad(np.asarray(values, dtype=float), (0, size - len(values))) for values in (x, y))
    return a + w * (b - a)


def _piecewise(nodes, values, x):
    """The piece that x lies in, by search; at a node the one above."""
    if x < nodes[0]:
        return values[0]
    for (a, b), (low, high) in zip(itertools.pairwise(nodes), itertools.pairwise(values), strict=True):
        if a <= x < b:
            return low + (high - low) * (x - a) / (b - a)
    return values[-1]


def _error_nodes(law, target):
    """Programming errors in standard deviations, and their probabilities."""
    if law.distribution != "empirical":
        return (_uniform if law.distribution == "uniform" else _normal)(ERROR_NODES)
    quantiles = _quantiles(law, target)
    return quantiles / max(quantiles.std(), 1e-300), np.full(QUANTILE_NODES, 1.0 / QUANTILE_NODES)


def _quantiles(law, target):
    """Quantiles of programmed - target at dense probabilities: interpolated over these, then over the states."""
    u = (np.arange(QUANTILE_NODES) + 0.5) / QUANTILE_NODES
    rows = np.array([np.interp(u, law.probabilities, row.quantiles) for row in law.at])
    place = np.interp(target, [row.state for row in law.at], np.arange(len(rows)))
    weights = np.maximum(0.0, 1.0 - np.abs(place - np.arange(len(rows))))
    return weights @ rows


def _normal(count):
    """Nodes and weights of a standard normal number, by the trapezoidal rule within 8.5 standard deviations."""
    nodes = np.linspace(-8.5, 8.5, count)
    weights = np.exp(-0.5 * nodes**2)
    return nodes, weights / weights.sum()


def _uniform(count):
    """Nodes and weights of a uniform number of mean 0 and standard deviation 1."""
    half = math.sqrt(3.0)
    return half * ((np.arange(count) + 0.5) * 2.0 / count - 1.0), np.full(count, 1.0 / count)
