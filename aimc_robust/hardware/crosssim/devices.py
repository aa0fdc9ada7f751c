"""Device cards as CrossSim 3.2 states them: its device models, resistances and times (BSD-3, sandialabs/cross-sim).

CrossSim names its models in code; a card is one of them where its laws are the same, number by number, whatever the
card's name is.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from aimc_robust.devices.card import Card
from aimc_robust.devices.laws import NoError, PolynomialProgramming
from aimc_robust.devices.library import load_card
from aimc_robust.errors import InputError, require_finite
from aimc_robust.hardware.config.crossbar import Crossbar

# Library card -> CrossSim's model of the same device, and the states [card.unit] that the model accepts.
MODELS = {
    "rram-milo2021": ("RRAMMilo", (50.0, 225.0)),
    "rram-wan2022": ("RRAMWan", (0.0, 39.26)),
    "pcm-joshi2020": ("PCMJoshi", (0.0, 25.0)),
    "sonos-agrawal2022": ("SONOS", (0.0, 3200.0)),
}
LAWS = ("programming", "drift", "read")

# CrossSim's own read voltage, at which a SONOS cell's current [nA] is stated.
READ_VOLTAGE_V = 0.1
# CrossSim's own default, for cards whose states are relative: only ratios of resistances matter to them.
RELATIVE_OHM = 1000.0
# At times above 0 CrossSim accepts currents below this [nA].
LARGEST_DRIFTING = 1800.0
DAY_S = 86400.0


def device_parameters(crossbar: Crossbar, *, time_s: float = 0.0) -> dict[str, Any]:
    """CrossSim's `xbar.device`: resistances, levels, models of programming error, drift and read noise.

    time_s: since programming [s]; CrossSim counts days.
    Raises InputError for a card, window, time or stuck cells that CrossSim cannot express.
    """
    card = crossbar.card
    require_finite("time_s (seconds since programming)", time_s)
    _refuse_stuck(crossbar)
    model, magnitude = _programming(crossbar)
    programming = "IdealDevice" if crossbar.error_scale == 0 else model
    if crossbar.error_scale != 1 and magnitude is None and (programming == model or time_s > 0):
        raise InputError(
            f"error_scale {crossbar.error_scale:g}: CrossSim's {model} has no factor on its error. Leave it at 1, or "
            "use the native backend."
        )
    drift = model if time_s > 0 else "IdealDevice"
    read = model if crossbar.reads_with_noise else "IdealDevice"
    for used in (programming, drift, read):
        _check_window(crossbar, used)
    if time_s > 0:
        _check_drift(crossbar, time_s)
    return {
        "cell_bits": crossbar.cell_bits,
        **_resistances(card, crossbar.programming_window),
        "Vread": READ_VOLTAGE_V,
        "time": time_s / DAY_S,
        # The shipped cards that CrossSim knows keep states above 0 only; a generic one may name its window.
        "clip_conductance": card.programming.clip == "window",
        "programming_error": _effect(programming, magnitude or 0.0),
        "drift_error": _effect(drift),
        "read_noise": _effect(read),
    }


def _effect(model: str, magnitude: float = 0.0) -> dict[str, Any]:
    return {"enable": model != "IdealDevice", "model": model, "magnitude": magnitude}


def _programming(crossbar: Crossbar) -> tuple[str, float | None]:
    """(CrossSim's model, its magnitude): a generic one for an error c or c * state, else one of fixed numbers."""
    card = crossbar.card
    generic = _generic(card)
    if generic is None:
        return _model(card), None
    model, std = generic
    full_scale = 1.0 if "Proportional" in model else crossbar.programming_window[1]
    # CrossSim's uniform error of magnitude m is spread over [-m/2, m/2].
    spread = math.sqrt(12.0) if "Uniform" in model else 1.0
    return model, std * crossbar.error_scale * spread / full_scale


def _generic(card: Card) -> tuple[str, float] | None:
    """(CrossSim's generic model, std [card.unit] or std of the relative error), or None for other laws."""
    if card.drift is not None or card.read is not None:
        return None
    law = card.programming
    match law:
        case NoError():
            return "IdealDevice", 0.0
        case PolynomialProgramming(coefficients=(constant, *rest)) if not any(rest):
            return f"{law.distribution.title()}IndependentDevice", max(constant, 0.0)
        case PolynomialProgramming(coefficients=(0.0, slope, *rest)) if not any(rest):
            return f"{law.distribution.title()}ProportionalDevice", max(slope / law.reference, 0.0)
    return None


@cache
def _library_card(name: str) -> Card:
    return load_card(name)


def _model(card: Card) -> str:
    for name, (model, _) in MODELS.items():
        known = _library_card(name)
        if card.unit == known.unit and all(getattr(card, law) == getattr(known, law) for law in LAWS):
            return model
    if card.name in MODELS:
        known = _library_card(card.name)
        changed = [law for law in LAWS if getattr(card, law) != getattr(known, law)] or ["unit"]
        raise InputError(
            f"{card.name}: this card's {' and '.join(changed)} is not that of CrossSim's {MODELS[card.name][0]}, whose "
            "numbers cannot be changed. Use the native backend."
        )
    raise InputError(
        f"CrossSim has no model of the card {card.name!r}; it has {', '.join(MODELS)}, and cards without drift and "
        "read noise whose error is 0, constant or proportional to the state. Use the native backend."
    )


def _check_window(crossbar: Crossbar, model: str) -> None:
    low, high = crossbar.programming_window
    for known, (least, most) in MODELS.values():
        if known == model and not (least <= low and high <= most):
            raise InputError(
                f"{_window_text(crossbar)} leaves the {least:g} to {most:g} {crossbar.card.unit} that CrossSim's "
                f"{model} accepts."
            )


def _check_drift(crossbar: Crossbar, time_s: float) -> None:
    card = crossbar.card
    if card.drift is None:
        raise InputError(
            f"{card.name}: the card has no drift, and CrossSim drops the programming error at time_s = {time_s:g} s. "
            "Use time_s = 0."
        )
    if crossbar.programming_window[1] >= LARGEST_DRIFTING:
        raise InputError(
            f"{_window_text(crossbar)} reaches the {LARGEST_DRIFTING:g} {card.unit} below which CrossSim's drift stays."
        )


def _window_text(crossbar: Crossbar) -> str:
    low, high = crossbar.programming_window
    return f"{crossbar.card.name}: the window {low:g} to {high:g} {crossbar.card.unit}"


def _refuse_stuck(crossbar: Crossbar) -> None:
    own = crossbar.card.stuck
    fractions = crossbar.stuck if crossbar.stuck is not None else (own.low, own.high) if own is not None else (0.0, 0.0)
    if any(fractions):
        low, high = fractions
        raise InputError(
            f"stuck cells ({low:g} low, {high:g} high): CrossSim has none. Set stuck=(0, 0), or use the native backend."
        )


def _resistances(card: Card, window: tuple[float, float]) -> dict[str, Any]:
    """Rmin and Rmax [ohm] of the window's ends; Rmax is infinite for a window from 0, which CrossSim is told apart."""
    low, high = window
    smallest = RELATIVE_OHM if card.state == "relative" else _ohm(card, high)
    largest = 1e20 * smallest if low == 0 else smallest * high / low
    return {"Rmin": smallest, "Rmax": largest, "infinite_on_off_ratio": low == 0}


def _ohm(card: Card, state: float) -> float:
    """The resistance whose state, computed back, does not exceed `state`: CrossSim compares with its limits."""
    per_siemens = READ_VOLTAGE_V * 1e9 if card.state == "current" else 1e6
    ohm = per_siemens / state
    while (1.0 / ohm) * per_siemens > state:
        ohm = math.nextafter(ohm, math.inf)
    return ohm
