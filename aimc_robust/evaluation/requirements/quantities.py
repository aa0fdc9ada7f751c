"""The quantities whose largest tolerable value is searched, each as an error budget at a level."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from aimc_robust.errors import InputError, require_known
from aimc_robust.evaluation.requirements.budget import ErrorBudget, Nodes

PER_OCTAVE = 8  # levels for each factor of 2: neighbours differ by 9 %
MAX_BITS, FEWEST_DAC_BITS = 16, 2

Effect = Literal["programming", "read", "drift", "stuck-low", "stuck-high", "adc", "dac"]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What the quantities depend on.

    Attributes:
        time_s: Seconds since programming, for drift.
        t0_s: Seconds from the programming pulse to time 0, see `PowerLawDrift`.
        drift_spread: Standard deviation of nu over devices, in units of its mean.
        curve: Shape of the programming error over the state; its level is a factor on it.
    """

    time_s: float
    t0_s: float
    drift_spread: float
    curve: Nodes = ()

    @property
    def log_time(self) -> float:
        """ln((t + t0) / t0), which the exponent of a power law multiplies."""
        return math.log1p(self.time_s / self.t0_s)


Fields = Mapping[str, Any]
"""Fields of an `ErrorBudget`."""


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """One quantity of a device or its periphery.

    Attributes:
        title: What tables call it.
        unit: What its level is a multiple of; empty for a number of its own.
        effect: Quantities of the same effect are alternatives: a device has one of them.
        levels: Levels of the search, the hardest for the model first.
        fields: (level, setting) -> the fields of the error budget.
        grows: The loss grows with this power of the level, to second order; 0: it is not predicted.
        predicted_as: Fields of a budget whose loss the prediction takes in place of `fields`; None: these.
        is_random: Whether chips differ.
    """

    title: str
    unit: str
    effect: Effect
    levels: tuple[float, ...]
    fields: Callable[[float, Setting], Fields]
    grows: float = 0.0
    predicted_as: Callable[[float, Setting], Fields] | None = None
    is_random: bool = True

    @property
    def is_bits(self) -> bool:
        """Whether the level is a resolution, of which fewer bits are harder."""
        return self.effect in ("adc", "dac")

    def differs_between_chips(self, setting: Setting) -> bool:
        """Whether chips differ in this setting: drift without spread is the same on all."""
        return self.is_random and (self.effect != "drift" or setting.drift_spread > 0)

    def scaled(self, level: float, scale: float) -> float:
        """Return the level at which its errors have `scale`**2 of the variance that they have at `level`."""
        if self.is_bits:
            return min(math.ceil(level - math.log2(scale)), MAX_BITS)
        return four_digits(level * (scale**2 if self.effect in ("stuck-low", "stuck-high") else scale))


def geometric_levels(high: float, low: float) -> tuple[float, ...]:
    """Return levels from `high` down to `low`, `PER_OCTAVE` for each factor of 2."""
    count = math.floor(PER_OCTAVE * math.log2(high / low)) + 1
    return tuple(four_digits(high * 2.0 ** (-k / PER_OCTAVE)) for k in range(count))


def four_digits(value: float) -> float:
    """Round to four significant digits, before anything is simulated: a card can state what was confirmed."""
    return float(f"{value:.4g}")


def _constant(level: float, setting: Setting) -> Fields:
    return {"programming": ((0.0, level), (1.0, level))}


def _proportional(level: float, setting: Setting) -> Fields:
    return {"programming": ((0.0, 0.0), (1.0, level))}


def _curve(level: float, setting: Setting) -> Fields:
    return {"programming": tuple((state, four_digits(level * std)) for state, std in setting.curve)}


def _drift(level: float, setting: Setting) -> Fields:
    return {"drift_mean": level, "drift_std": four_digits(level * setting.drift_spread)}


def _compensated(level: float, setting: Setting) -> Fields:
    return {**_drift(level, setting), "compensates": True}


def _spread_alone(level: float, setting: Setting) -> Fields:
    """Drift whose mean is compensated is a proportional error of std(nu) ln((t + t0) / t0), to first order."""
    return _proportional(min(level * setting.drift_spread * setting.log_time, 1.0), setting)


_STD, _FRACTION = geometric_levels(1.0, 1e-4), geometric_levels(1.0, 1e-6)
QUANTITIES: dict[str, Quantity] = {
    "programming": Quantity(
        title="programming error, the same at every state",
        unit="of the window's top",
        effect="programming",
        levels=_STD,
        fields=_constant,
        grows=2.0,
    ),
    "programming-proportional": Quantity(
        title="programming error, proportional to the state",
        unit="of the state",
        effect="programming",
        levels=_STD,
        fields=_proportional,
        grows=2.0,
    ),
    "programming-curve": Quantity(
        title="programming error, as the budget curve",
        unit="x the curve",
        effect="programming",
        levels=geometric_levels(8.0, 1 / 64),
        fields=_curve,
        grows=2.0,
    ),
    "read-noise": Quantity(
        title="read noise",
        unit="of the window's top",
        effect="read",
        levels=_STD,
        fields=lambda level, setting: {"read_noise": level},
        grows=2.0,
        predicted_as=_constant,
    ),
    "drift": Quantity(
        title="mean drift exponent, not compensated",
        unit="",
        effect="drift",
        levels=_STD,
        fields=_drift,
        grows=2.0,
    ),
    "drift-compensated": Quantity(
        title="mean drift exponent, with global drift compensation",
        unit="",
        effect="drift",
        levels=_STD,
        fields=_compensated,
        grows=2.0,
        predicted_as=_spread_alone,
    ),
    "stuck-low": Quantity(
        title="devices stuck at the low end",
        unit="of all devices",
        effect="stuck-low",
        levels=_FRACTION,
        fields=lambda level, setting: {"stuck_low": level},
        grows=1.0,
    ),
    "stuck-high": Quantity(
        title="devices stuck at the high end",
        unit="of all devices",
        effect="stuck-high",
        levels=_FRACTION,
        fields=lambda level, setting: {"stuck_high": level},
        grows=1.0,
    ),
    "adc-bits": Quantity(
        title="resolution of the ADCs",
        unit="bits",
        effect="adc",
        levels=tuple(range(1, MAX_BITS + 1)),
        fields=lambda level, setting: {"adc_bits": int(level)},
        is_random=False,
    ),
    "dac-bits": Quantity(
        title="resolution of the DACs",
        unit="bits",
        effect="dac",
        levels=tuple(range(FEWEST_DAC_BITS, MAX_BITS + 1)),
        fields=lambda level, setting: {"dac_bits": int(level)},
        is_random=False,
    ),
}
TOGETHER_ORDER = ("drift-compensated", *QUANTITIES)
"""Which of several quantities of one effect counts when all errors act together: the first of these."""


def find_quantities(names: Iterable[str] | None) -> dict[str, Quantity]:
    """Return the quantities of these names, in the order of `QUANTITIES`; None: all.

    Raises:
        InputError: if there is none.
        UnknownNameError: if a name is unknown.
    """
    if names is None:
        return dict(QUANTITIES)
    if isinstance(names, str):
        raise InputError(f"quantities must be a list of names, such as ['programming'], got {names!r}.")
    wanted = list(names)
    for name in wanted:
        require_known("quantity of a requirement", name, QUANTITIES)
    if not wanted:
        raise InputError(f"quantities must name at least one of {', '.join(QUANTITIES)}; got none.")
    return {name: quantity for name, quantity in QUANTITIES.items() if name in wanted}


def alternatives_removed(quantities: Mapping[str, Quantity]) -> dict[str, Quantity]:
    """Return one quantity of each effect, by `TOGETHER_ORDER`."""
    chosen: dict[Effect, str] = {}
    for name in TOGETHER_ORDER:
        if name in quantities:
            chosen.setdefault(quantities[name].effect, name)
    return {name: quantity for name, quantity in quantities.items() if name in chosen.values()}


def budget_at(levels: Mapping[str, float], setting: Setting) -> ErrorBudget:
    """Return the error budget in which these quantities have these levels, and all else is ideal."""
    fields: dict[str, Any] = {}
    for name, level in levels.items():
        fields |= QUANTITIES[name].fields(level, setting)
    return ErrorBudget(**fields)
