"""The formulas of drift for one target at one time, implemented independently of `devices`, in NumPy float64."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from aimc_robust.devices.laws.base import DriftLaw
from aimc_robust.devices.laws.logarithmic_drift import LogarithmicDrift
from aimc_robust.devices.laws.polynomial import Polynomial
from aimc_robust.devices.laws.power_law_drift import ClippedLog, PowerLawDrift
from aimc_robust.devices.laws.saturating_exponential import SaturatingExponential
from aimc_robust.devices.laws.table_drift import TableDrift
from aimc_robust.fitting.reference_laws import no_reference


@dataclass(frozen=True)
class TableReference:
    """A drift table at one target and time: state = center + width * xi.

    Attributes:
        center: Center [card.unit].
        width: Standard deviation [card.unit].
    """

    center: float
    width: float

    def drawn(self, now: np.ndarray, smallest: float) -> np.ndarray:
        """The programming error xi that leads to `now` (n,); NaN if the width is at most `smallest`."""
        return (now - self.center) / self.width if self.width > smallest else np.full_like(now, np.nan)


class RandomDriftReference(ABC):
    """A drift at one target and time that draws a number of its own."""

    @abstractmethod
    def aged(self, programmed: np.ndarray, eta: np.ndarray) -> np.ndarray:
        """States of `programmed` cells whose standard normal draws are `eta`, before they are clipped."""

    @abstractmethod
    def programmed_from(self, state: np.ndarray, eta: np.ndarray) -> np.ndarray:
        """Programmed states (n, m) that become `state` (n,) for the draws `eta` (m,)."""

    @abstractmethod
    def drawn(self, programmed: np.ndarray, now: np.ndarray, smallest: float) -> np.ndarray:
        """The draw that leads from `programmed` to `now` (n,); NaN where there is none, or it is at most `smallest`."""

    @abstractmethod
    def drawn_cdf(self, value: np.ndarray) -> np.ndarray:
        """P(draw <= value), (n,)."""


@dataclass(frozen=True)
class PowerLawReference(RandomDriftReference):
    """programmed * ((t + t0) / t0)^-nu with nu = |mean + std * eta|; the draw is nu.

    Attributes:
        mean: Mean of the exponent before its absolute value is taken.
        std: Standard deviation of the same.
        time_s: Seconds since programming.
        t0_s: Seconds from the programming pulse to time 0.
    """

    mean: float
    std: float
    time_s: float
    t0_s: float

    def aged(self, programmed: np.ndarray, eta: np.ndarray) -> np.ndarray:
        """See `RandomDriftReference.aged`."""
        return programmed * ((self.time_s + self.t0_s) / self.t0_s) ** -np.abs(self.mean + self.std * eta)

    def programmed_from(self, state: np.ndarray, eta: np.ndarray) -> np.ndarray:
        """See `RandomDriftReference.programmed_from`."""
        return state[:, None] / self.aged(np.ones(1), eta)

    def drawn(self, programmed: np.ndarray, now: np.ndarray, smallest: float) -> np.ndarray:
        """See `RandomDriftReference.drawn`."""
        hidden = (now <= 0) | (programmed <= 0)
        ratio = np.where(hidden, 1.0, now) / np.where(hidden, 1.0, programmed)
        return np.where(hidden, np.nan, -np.log(ratio) / math.log1p(self.time_s / self.t0_s))

    def drawn_cdf(self, value: np.ndarray) -> np.ndarray:
        """See `RandomDriftReference.drawn_cdf`."""
        if self.std == 0:
            return (value >= abs(self.mean) - 1e-9).astype(float)
        folded = ndtr((value - self.mean) / self.std) - ndtr((-value - self.mean) / self.std)
        return np.where(value < 0, 0.0, folded)


@dataclass(frozen=True)
class LogarithmicReference(RandomDriftReference):
    """programmed + mean + std * eta; the draw is eta.

    Attributes:
        mean: Mean shift [card.unit].
        std: Standard deviation of the shift [card.unit].
    """

    mean: float
    std: float

    def aged(self, programmed: np.ndarray, eta: np.ndarray) -> np.ndarray:
        """See `RandomDriftReference.aged`."""
        return programmed + self.mean + self.std * eta

    def programmed_from(self, state: np.ndarray, eta: np.ndarray) -> np.ndarray:
        """See `RandomDriftReference.programmed_from`."""
        return state[:, None] + (0.0 - self.aged(np.zeros(1), eta))

    def drawn(self, programmed: np.ndarray, now: np.ndarray, smallest: float) -> np.ndarray:
        """See `RandomDriftReference.drawn`."""
        return (now - programmed - self.mean) / self.std if self.std > smallest else np.full_like(now, np.nan)

    def drawn_cdf(self, value: np.ndarray) -> np.ndarray:
        """See `RandomDriftReference.drawn_cdf`."""
        return ndtr(value)


def drift_reference(law: DriftLaw, target: float, time_s: float) -> TableReference | RandomDriftReference:
    """The reference of a drift law.

    Args:
        law: The law.
        target: Target state [card.unit].
        time_s: Seconds since programming.

    Raises:
        InputError: If the law has no reference.
    """
    if isinstance(law, TableDrift):
        return _table(law, target, time_s)
    if isinstance(law, PowerLawDrift):
        x_ln = math.log(target / law.reference) if target > 0 else -700.0
        mean, std = (_clipped_log(part, x_ln) for part in (law.exponent_mean, law.exponent_std))
        return PowerLawReference(mean, std, time_s, law.t0_s)
    if isinstance(law, LogarithmicDrift):
        t_ln = math.log(max(time_s, 1.0))
        return LogarithmicReference(law.mean_ln * t_ln, max(law.std_ln * t_ln + law.std_offset, 0.0))
    raise no_reference(law)


def _clipped_log(law: ClippedLog, x_ln: float) -> float:
    return min(max(law.slope_ln * x_ln + law.offset, law.min), law.max)


def _table(law: TableDrift, target: float, time_s: float) -> TableReference:
    rows = law.at
    scale = np.log10 if law.interpolation == "log" else np.asarray
    last = next((i for i in range(1, len(rows)) if rows[i].time_s >= time_s), len(rows) - 1)
    a, b = rows[last - 1], rows[last]
    w = float((scale(time_s) - scale(a.time_s)) / (scale(b.time_s) - scale(a.time_s)))
    center = target + float(np.polyval(_mixed(a.shift, b.shift, w)[::-1], target))
    if isinstance(a.std, Polynomial) and isinstance(b.std, Polynomial):
        c = _mixed(a.std.coefficients, b.std.coefficients, w)
        width = float(np.polyval(c[::-1], center / a.std.reference))
    elif isinstance(a.std, SaturatingExponential) and isinstance(b.std, SaturatingExponential):
        amplitude, constant = _mixed((a.std.amplitude, a.std.constant), (b.std.amplitude, b.std.constant), w)
        width = float(amplitude) * -math.expm1(-center / max(float(constant), 1e-6))
    else:
        raise no_reference(a.std)
    return TableReference(center, max(width, 0.0))


def _mixed(x: tuple[float, ...], y: tuple[float, ...], w: float) -> np.ndarray:
    """X + w * (y - x), the shorter padded with zeros."""
    size = max(len(x), len(y), 1)
    a, b = (np.pad(np.asarray(values, dtype=float), (0, size - len(values))) for values in (x, y))
    return a + w * (b - a)
