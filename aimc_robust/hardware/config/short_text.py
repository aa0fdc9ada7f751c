"""Crossbars, placements and presets as `print` shows them: options that are not at their defaults."""

from __future__ import annotations

import inspect
from dataclasses import fields, is_dataclass
from typing import Any

from aimc_robust.errors import short_repr


def options_text(value: Any) -> str:
    """Return an object as the call that makes it, without options at their defaults.

    `repr` of a crossbar holds its whole card, by which checkpoints are compared.
    """
    if hasattr(value, "periphery"):
        return _crossbar_text(value)
    if not is_dataclass(value):
        return short_repr(value)
    own = [(field.name, getattr(value, field.name), field.default) for field in fields(value)]
    shown = [f"{name}={options_text(option)}" for name, option, default in own if option != default]
    return f"{type(value).__name__}({', '.join(shown)})"


def layers_text(placement: Any) -> str:
    """Return a placement as the call that makes it."""
    places = (f"{pattern!r}: {repr('digital') if own is None else own}" for pattern, own in placement.layers)
    return f"{type(placement).__name__}({{{', '.join(places)}}})"


def preset_text(preset: Any) -> str:
    """Return the name of a preset, its summary and its crossbar."""
    return f"{preset.name}: {preset.summary}; {preset.crossbar}"


def _crossbar_text(crossbar: Any) -> str:
    parts = (crossbar.device, crossbar.weights, crossbar.arrays, crossbar.periphery)
    options = {name: option for part in parts for name, option in vars(part).items()} | {"crosssim": crossbar.crosssim}
    shown = [repr(crossbar.device.cell.name)]
    for name, parameter in inspect.signature(type(crossbar)).parameters.items():
        if name in options and options[name] != parameter.default:
            option = options[name]
            is_default = name == "mapping" and option.description == parameter.default
            shown += [] if is_default else [f"{name}={options_text(option)}"]
    return f"Crossbar({', '.join(shown)})"
