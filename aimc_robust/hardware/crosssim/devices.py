"""Translate device cards to CrossSim 3.2: its device models, resistances and times (BSD-3, sandialabs/cross-sim).

CrossSim's device models are code. A card is one of them if its laws are equal, number by number, whatever its name.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from aimc_robust.devices.card import Card
from aimc_robust.devices.laws.no_error import NoError
from aimc_robust.devices.laws.polynomial import PolynomialProgramming
from aimc_robust.devices.library import load_card
from aimc_robust.errors import InputError, require_finite
from aimc_robust.hardware.config.crossbar import Crossbar

# Library card -> CrossSim's model of the same device, and the states [card.unit] that the model accepts.
MODELS: dict[str, tuple[str, tuple[float, float]]] = {
    "rram-milo2021": ("RRAMMilo", (50.0, 225.0)),
    "rram-wan2022": ("RRAMWan", (0.0, 39.26)),
    "pcm-joshi2020": ("PCMJoshi", (0.0, 25.0)),
    "sonos-agrawal2022": ("SONOS", (0.0, 3200.0)),
}
LAWS = ("programming", "drift", "read")

# CrossSim's read voltage, for cards that state none.
READ_VOLTAGE_V = 0.1
# CrossSim's default, for cards with relative states: only ratios of resistances matter.
RELATIVE_OHM = 1000.0
# At times above 0 CrossSim accepts currents below this [nA].
MAX_DRIFTING_NA = 1800.0
DAY_S = 86400.0


def device_parameters(crossbar: Crossbar, *, time_s: float = 0.0) -> dict[str, Any]:
    """Return CrossSim's `xbar.device`: resistances, levels, models of programming error, drift and read noise.

    Raises:
        InputError: If CrossSim cannot express the device, its window or its stuck cells, or the time.
    """
    card = _card(crossbar)
    require_finite("time_s (seconds since programming)", time_s)
    _check_not_stuck(crossbar)
    model, magnitude = _programming(crossbar)
    programming = "IdealDevice" if crossbar.device.error_scale == 0 else model
    scale = crossbar.device.error_scale
    if scale != 1 and magnitude is None and (programming == model or time_s > 0):
        raise InputError(
            f"error_scale {scale:g}: CrossSim's {model} has no factor on its error. Leave it at 1, or "
            "use the native backend."
        )
    drift = model if time_s > 0 else "IdealDevice"
    read = model if crossbar.device.reads_with_noise else "IdealDevice"
    for model_name in (programming, drift, read):
        _check_window(crossbar, model_name)
    if time_s > 0:
        _check_drift(crossbar, time_s)
    return {
        "cell_bits": crossbar.weights.cell_bits,
        **_resistances(card, crossbar.device.programming_window),
        "Vread": card.read_voltage_v or READ_VOLTAGE_V,
        "time": time_s / DAY_S,
        # The library cards that CrossSim knows clip states at 0 only; a generic one may clip to its window.
        "clip_conductance": card.programming.clip == "window",
        "programming_error": _effect(programming, magnitude or 0.0),
        "drift_error": _effect(drift),
        "read_noise": _effect(read),
    }


def _card(crossbar: Crossbar) -> Card:
    """The crossbar's device, which must be a card."""
    cell = crossbar.device.cell
    if not isinstance(cell, Card):
        raise InputError(
            f"{cell.name} is a cell model in Python, which CrossSim cannot run. Use a card, or the native backend."
        )
    return cell


def _effect(model: str, magnitude: float = 0.0) -> dict[str, Any]:
    return {"enable": model != "IdealDevice", "model": model, "magnitude": magnitude}


def _programming(crossbar: Crossbar) -> tuple[str, float | None]:
    """CrossSim's model and its magnitude: a generic model for an error c or c * state, else one of fixed numbers."""
    card = _card(crossbar)
    generic = _generic(card)
    if generic is None:
        return _model(card), None
    model, std = generic
    full_scale = 1.0 if "Proportional" in model else crossbar.device.programming_window[1]
    # CrossSim's uniform error of magnitude m is spread over [-m/2, m/2].
    spread = math.sqrt(12.0) if "Uniform" in model else 1.0
    return model, std * crossbar.device.error_scale * spread / full_scale


def _generic(card: Card) -> tuple[str, float] | None:
    """CrossSim's generic model and its std [card.unit] or relative std; None for other laws."""
    if card.drift is not None or card.read is not None:
        return None
    law = card.programming
    if law.device_share:  # a persistent error
        return None
    if isinstance(law, NoError):
        return "IdealDevice", 0.0
    if not isinstance(law, PolynomialProgramming):
        return None
    constant, slope, *higher = *law.coefficients, 0.0
    if any(higher) or (constant and slope):
        return None
    if slope:
        return f"{law.distribution.title()}ProportionalDevice", max(slope / law.reference, 0.0)
    return f"{law.distribution.title()}IndependentDevice", max(constant, 0.0)


@cache
def _library_card(name: str) -> Card:
    return load_card(name)


def _model(card: Card) -> str:
    for name, (model, _) in MODELS.items():
        library_card = _library_card(name)
        if card.unit == library_card.unit and not _different_laws(card, library_card):
            return model
    if card.name in MODELS:
        changed = _different_laws(card, _library_card(card.name)) or ["unit"]
        raise InputError(
            f"{card.name}: this card's {' and '.join(changed)} differs from CrossSim's {MODELS[card.name][0]}, whose "
            "numbers cannot be changed. Use the native backend."
        )
    raise InputError(
        f"CrossSim has no model of the card {card.name!r}; it has {', '.join(MODELS)}, and cards without drift and "
        "read noise whose error is 0, constant or proportional to the state. Use the native backend."
    )


def _different_laws(card: Card, other: Card) -> list[str]:
    return [law for law in LAWS if getattr(card, law) != getattr(other, law)]


def _check_window(crossbar: Crossbar, model: str) -> None:
    low, high = crossbar.device.programming_window
    for known, (least, most) in MODELS.values():
        if known == model and not (least <= low and high <= most):
            raise InputError(
                f"{_window_text(crossbar)} is outside the range {least:g} to {most:g} {crossbar.device.cell.unit} that "
                f"CrossSim's {model} accepts."
            )


def _check_drift(crossbar: Crossbar, time_s: float) -> None:
    card = crossbar.device.cell
    if not card.has_drift:
        raise InputError(
            f"{card.name}: the card has no drift, and CrossSim ignores the programming error at time_s = {time_s:g} s. "
            "Use time_s = 0."
        )
    if crossbar.device.programming_window[1] >= MAX_DRIFTING_NA:
        raise InputError(
            f"{_window_text(crossbar)} must end below {MAX_DRIFTING_NA:g} {card.unit}, the limit of CrossSim's drift."
        )


def _window_text(crossbar: Crossbar) -> str:
    low, high = crossbar.device.programming_window
    return f"{crossbar.device.cell.name}: the window {low:g} to {high:g} {crossbar.device.cell.unit}"


def _check_not_stuck(crossbar: Crossbar) -> None:
    if crossbar.device.fault_map is not None:
        raise InputError("CrossSim cannot simulate a fault map. Use the native backend.")
    low, high = crossbar.device.stuck_fractions
    if low or high:
        raise InputError(
            f"CrossSim cannot simulate stuck cells ({low:g} low, {high:g} high). Set stuck=(0, 0), or use the native "
            "backend."
        )


def _resistances(card: Card, window: tuple[float, float]) -> dict[str, Any]:
    """Rmin and Rmax [ohm] of the window's ends; for a window from 0 Rmax is infinite, which CrossSim has a flag for."""
    low, high = window
    smallest = RELATIVE_OHM if card.state == "relative" else _ohm(card, high)
    largest = 1e20 * smallest if low == 0 else smallest * high / low
    return {"Rmin": smallest, "Rmax": largest, "infinite_on_off_ratio": low == 0}


def _ohm(card: Card, state: float) -> float:
    """The resistance whose state, computed back, does not exceed `state`, since CrossSim compares with its limits."""
    per_siemens = (card.read_voltage_v or READ_VOLTAGE_V) * 1e9 if card.state == "current" else 1e6
    ohm = per_siemens / state
    while (1.0 / ohm) * per_siemens > state:
        ohm = math.nextafter(ohm, math.inf)
    return ohm
