"""An error budget: the errors that a device and its converters may have, and the crossbar that has just these."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from aimc_robust.devices.card import Card
from aimc_robust.devices.cell_model import LONGEST_S
from aimc_robust.devices.library import load_card
from aimc_robust.errors import InputError
from aimc_robust.hardware.config.converters import ADC, DAC
from aimc_robust.hardware.config.crossbar import Crossbar

Nodes = tuple[tuple[float, float], ...]
"""(state, standard deviation), both as fractions of the top of the programming window, with the states ascending."""


@dataclass(frozen=True, kw_only=True)
class ErrorBudget:
    """The errors of a device and the resolution of its converters. By default there are none: all is ideal.

    Attributes:
        programming: Standard deviation of the programming error over the state, linear between these nodes.
        read_noise: Standard deviation of one read, as a fraction of the top of the window.
        drift_mean: Mean over devices of the drift exponent nu.
        drift_std: Standard deviation of nu over devices.
        stuck_low: Fraction of devices that are stuck at the low end of the window.
        stuck_high: Fraction of devices that are stuck at its high end.
        adc_bits: Resolution of the ADCs; 0: they do not limit.
        dac_bits: Resolution of the DACs; 0: they do not limit.
        compensates: Whether outputs are corrected by global drift compensation.
    """

    programming: Nodes = ()
    read_noise: float = 0.0
    drift_mean: float = 0.0
    drift_std: float = 0.0
    stuck_low: float = 0.0
    stuck_high: float = 0.0
    adc_bits: int = 0
    dac_bits: int = 0
    compensates: bool = False

    @property
    def drifts(self) -> bool:
        """Whether the state changes with time."""
        return self.drift_mean > 0 or self.drift_std > 0

    def card(self, template: Crossbar, *, t0_s: float, name: str = "error-budget") -> Card:
        """Return a device with these errors, the window and the unit of a crossbar's device, as a card."""
        cell, (low, high) = template.device.cell, template.device.programming_window
        table: dict[str, Any] = {
            "name": name,
            "technology": "No device: the errors that a device may have",
            "state": cell.state_kind,
            "unit": cell.unit,
            "source": {"citation": "Device requirements of a trained model, by aimc-robust require"},
            "range": {"min": low, "max": high, "limits": [0.0, high]},
            "programming": {"kind": "none"},
        }
        if self.programming:
            states, stds = zip(*self.programming, strict=True)
            table["programming"] = {
                "kind": "piecewise-linear",
                "states": [_short(state * high) for state in states],
                "stds": [_short(std * high) for std in stds],
            }
        if self.read_noise > 0:
            table["read"] = {"kind": "polynomial", "coefficients": [_short(self.read_noise * high)]}
        if self.drifts:
            constants = (
                {"slope_ln": 0.0, "offset": nu, "min": nu, "max": nu} for nu in (self.drift_mean, self.drift_std)
            )
            law = dict(zip(("exponent_mean", "exponent_std"), constants, strict=True))
            table["drift"] = {"kind": "power-law", "t0_s": t0_s, "reference": high, "limits_s": [0.0, LONGEST_S]} | law
        if self.stuck_low > 0 or self.stuck_high > 0:
            table["stuck"] = {"low": self.stuck_low, "high": self.stuck_high}
        if getattr(cell, "read_voltage_v", None) is not None:
            table["read_voltage_v"] = cell.read_voltage_v  # type: ignore[attr-defined]
        return load_card(table)

    def crossbar(self, template: Crossbar, *, t0_s: float) -> Crossbar:
        """Return the crossbar of this budget: layout, arrays and periphery are those of the template."""
        window = template.device.programming_window
        changed: dict[str, Any] = {"device": self.card(template, t0_s=t0_s), "window": window, "error_scale": 1.0}
        changed |= dict.fromkeys(("programming", "drift", "read_noise"), True)
        if self.adc_bits:
            changed["adc"] = replace(template.periphery.adc or ADC(bits=0), bits=self.adc_bits)
        if self.dac_bits:
            changed["dac"] = replace(template.periphery.dac or DAC(), bits=self.dac_bits)
        return template.replace(**changed)


def _short(state: float) -> float:
    """Return a state without the last digits of a product of floating-point numbers."""
    return float(f"{state:.6g}")


def check_template(crossbar: Crossbar) -> None:
    """Raise InputError for a crossbar whose device cannot be replaced by that of a budget."""
    if crossbar.device.fault_map is not None:
        raise InputError("requirements are for chips in general, but stuck names the faults of one chip; leave it out.")
    if crossbar.crosssim is not None:
        raise InputError("requirements are found on the native backend; leave the parameters of CrossSim out.")
