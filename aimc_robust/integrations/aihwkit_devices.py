"""Devices of aihwkit 1.2 (MIT, IBM/aihwkit): its noise models of inference as cards and options of a crossbar."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aimc_robust.errors import InputError, short_repr, unknown_name
from aimc_robust.hardware.config.converters import parse_range


@dataclass(frozen=True, kw_only=True)
class _NoiseModel:
    """How a noise model corresponds to a card of the library.

    Attributes:
        card: The card that has its numbers.
        g_max_us: The conductance to which the numbers refer, at which the model's largest weight is by default.
        relative: Whether its errors scale with g_max, so that only g_min / g_max matters.
        converter: The class that maps weights to conductances, which `mapping` is here.
        scale: Name of the factor on the programming error.
        numbers: Parameters with the values that the card has.
    """

    card: str
    g_max_us: float
    g_min_us: float = 0.0
    relative: bool = True
    converter: str = "SinglePairConductanceConverter"
    mapping: str = "one-sided"
    scale: str = "prog_noise_scale"
    numbers: Mapping[str, Any]


WAN_COEFFICIENTS = {
    1.0: [0.348, 16.03, -43.853, 45.393, -16.815],
    86400.0: [0.701, 22.086, -50.773, 47.095, -16.458],
    172800.0: [0.782, 20.274, -43.507, 37.062, -11.934],
}
CMO_COEFFICIENTS = {0.2: [0.00081107, 0.00106879], 2: [0.0112185391, 0.01129027418]}
CMO: dict[str, Any] = {
    "g_max_us": 88.2,
    "g_min_us": 9.0,
    "relative": False,
    "converter": "SingleDeviceConductanceConverter",
    "mapping": "offset",
    "numbers": {
        "coeff_dict": CMO_COEFFICIENTS,
        "decay_dict": {"mean": [-0.08900206], "std": [0.04201137, 0.41183342]},
        "read_dict": {"K": 0.0277316483, "t_read": 1e-6},
    },
}
NOISE_MODELS = {
    "PCMLikeNoiseModel": _NoiseModel(
        card="pcm-nandakumar2019",
        g_max_us=25.0,
        numbers={
            "prog_coeff": [0.26348, 1.965, -1.1731],
            "prog_coeff_g_max_reference": 25.0,
            "t_0": 20.0,
            "t_read": 2.5e-7,
        },
    ),
    "HermesNoiseModel": _NoiseModel(
        card="pcm-hermes2023-2dev",
        g_max_us=20.7,
        numbers={
            "prog_coeff": [0.16603222, 4.71806468, -8.48101252, 4.68961419],
            "prog_coeff_g_max_reference": 20.7,
            "t_0": 300.0,
            "t_read": 5.12e-7,
        },
    ),
    "ReRamWan2022NoiseModel": _NoiseModel(
        card="rram-wan2022-drift",
        g_max_us=40.0,
        scale="noise_scale",
        numbers={"coeff_dic": WAN_COEFFICIENTS, "prog_coeff_g_max_reference": 40.0},
    ),
    "ReRamCMONoiseModel": _NoiseModel(card="reram-cmo-falcone2025", **CMO),
}
HERMES_1_DEVICE = _NoiseModel(
    card="pcm-hermes2023-1dev",
    g_max_us=10.35,
    numbers={
        "prog_coeff": [0.15781817, 2.32443916, -2.16310839, 0.68841818],
        "prog_coeff_g_max_reference": 10.35,
        "t_0": 200.0,
        "t_read": 5.12e-7,
    },
)
# The parameter that selects a card, and the cards by its values, the default first. aihwkit silently takes an
# acceptance range of 0.2 for one that it does not know.
VARIANTS: dict[str, tuple[str, dict[float, _NoiseModel]]] = {
    "HermesNoiseModel": ("num_devices", {2: NOISE_MODELS["HermesNoiseModel"], 1: HERMES_1_DEVICE}),
    "ReRamCMONoiseModel": (
        "acceptance_range",
        {0.2: NOISE_MODELS["ReRamCMONoiseModel"], 2: _NoiseModel(card="reram-cmo-falcone2025-2pct", **CMO)},
    ),
}
# Parameters without an effect of their own: Wan's reference is g_max itself, as CMO's.
DERIVED = ("g_converter", "coeff_g_max_reference")


def device_options(noise_model: Any) -> dict[str, Any]:
    """Return the options of a `Crossbar` with the device of a noise model: an object, its name, or a dict with `class`.

    Raises:
        InputError: if a parameter has a value that the card does not have, or the mapping of weights is another.
        UnknownNameError: if no card corresponds to the model, or a parameter is unknown.
    """
    name, values = named_object(noise_model, "noise_model")
    if name not in NOISE_MODELS:
        raise unknown_name(
            "noise model", name, NOISE_MODELS, advice="For another, give your own card or CellModel as device=."
        )
    variant, model = _variant(name, values)
    switches = {"read_noise_scale": "read_noise", "drift_scale": "drift"}
    known = {*model.numbers, *switches, *DERIVED, *variant, model.scale, "g_max", "g_min"}
    for key in values:
        if key not in known:
            raise unknown_name(f"parameter of {name}", key, known)
    for key, number in model.numbers.items():
        if key in values and not _equal(values[key], number):
            raise _not_expressible(name, key, values[key], f"the card {model.card} has {short_repr(number)}")
    options: dict[str, Any] = {"device": model.card, "mapping": model.mapping, "window": _window(name, model, values)}
    options["error_scale"] = values.get(model.scale, 1.0)
    for key, option in switches.items():
        if (factor := values.get(key, 1.0)) not in (0.0, 1.0):
            raise _not_expressible(name, key, factor, "it is 1, or 0 for none")
        options[option] = bool(values.get(key, 1.0))
    return options


def _variant(name: str, values: Mapping[str, Any]) -> tuple[tuple[str, ...], _NoiseModel]:
    """The parameter that selects a card, if there is one, and the selected model."""
    if name not in VARIANTS:
        return (), NOISE_MODELS[name]
    key, models = VARIANTS[name]
    chosen = values.get(key, next(iter(models)))
    for value, model in models.items():
        if _equal(chosen, value):
            return (key,), model
    raise _not_expressible(name, key, chosen, f"it is {' or '.join(map(str, models))}")


def named_object(value: Any, field: str) -> tuple[str, dict[str, Any]]:
    """Return the name of an object's class and its attributes; also of a name, or of a dict with `class`."""
    if isinstance(value, str):
        return value, {}
    if isinstance(value, Mapping):
        if not isinstance(value.get("class"), str):
            raise InputError(f"{field} must have its name under 'class', got {short_repr(dict(value))}.")
        return value["class"], {key: inner for key, inner in value.items() if key != "class"}
    if not hasattr(value, "__dict__"):
        raise InputError(f"{field} must be an object of aihwkit, the name of its class, or a dict, got {value!r}.")
    return type(value).__name__, dict(vars(value))


def _window(name: str, model: _NoiseModel, values: Mapping[str, Any]) -> tuple[float, float]:
    """Return the window [uS], scaled to the card's numbers if only ratios matter."""
    converter, limits = model.converter, dict[str, Any]()
    if "g_converter" in values:
        converter, limits = named_object(values["g_converter"], "g_converter")
    if converter != model.converter:
        raise _not_expressible(name, "g_converter", converter, f"one {model.converter} has a mapping here")
    low, high = (values.get(key, limits.get(key)) for key in ("g_min", "g_max"))
    low, high = model.g_min_us if low is None else low, model.g_max_us if high is None else high
    low, high = parse_range(f"g_min and g_max of {name}", (low, high), least=0.0, ends=("g_min", "g_max"))
    return (model.g_max_us * low / high, model.g_max_us) if model.relative else (low, high)


def _equal(value: Any, number: Any) -> bool:
    if isinstance(number, Mapping):
        matches = isinstance(value, Mapping) and value.keys() == number.keys()
        return matches and all(_equal(value[key], number[key]) for key in number)
    if isinstance(number, list):
        return isinstance(value, list | tuple) and len(value) == len(number) and all(map(_equal, value, number))
    return isinstance(value, numbers.Real) and math.isclose(value, number)


def _not_expressible(name: str, key: str, value: Any, reason: str) -> InputError:
    return InputError(
        f"noise_model: {key} of {name} is {short_repr(value)}, but {reason}. Write a card with your numbers "
        "(docs/reference/device-cards.md) and give it as device=."
    )
