"""Parameters of CrossSim's own, added to those that a crossbar gives: parasitic resistances, I-V curves, circuits."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

from aimc_robust.errors import InputError, unknown_name

# Parameters of CrossSim's that would break the backend, which sets or relies on them, and why.
RESERVED = {
    "simulation.useGPU": "the backend computes on the CPU",
    "simulation.convolution": "the backend lays out convolutions itself",
    "core.complex_matrix": "weights are real",
    "core.complex_input": "inputs are real",
    "core.output_dtype": "outputs have the dtype of the inputs",
    "core.mapping.inputs.vmm": "the backend multiplies matrices with vectors only; set mvm",
    "xbar.adc.vmm": "the backend multiplies matrices with vectors only; set mvm",
    "xbar.dac.vmm": "the backend multiplies matrices with vectors only; set mvm",
}


def add_extra(tree: dict[str, Any], more: Mapping[str, Any], *, relative: bool) -> None:
    """Merge `more` into `tree`, in place; both nest as CrossSim's parameters do.

    relative: whether the device's states have no unit, so that its resistances in `tree` mean nothing.
    Raises InputError for what would break the backend or fail in CrossSim, UnknownNameError for a key that CrossSim
    does not know, where it is installed.
    """
    if not more:
        return
    _check_reserved(more)
    _check_known(more)
    _merge(tree, more)
    _check_circuit(tree, relative and "Rmin" not in more.get("xbar", {}).get("device", {}))


def _merge(tree: dict[str, Any], more: Mapping[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, Mapping):
            inner = tree.setdefault(key, {})
            if not isinstance(inner, dict):
                raise InputError(f"CrossSim's parameter {key!r} is a value, not a table; got {value!r}.")
            _merge(inner, value)
        elif isinstance(tree.get(key), dict):
            raise InputError(f"CrossSim's parameter {key!r} is a table of parameters, got {value!r}.")
        else:
            tree[key] = copy.deepcopy(value)


def _check_reserved(more: Mapping[str, Any], above: str = "") -> None:
    for key, value in more.items():
        path = f"{above}{key}"
        if path in RESERVED or key == "_match":
            reason = RESERVED.get(path, "mvm and vmm are the same")
            raise InputError(f"CrossSim's parameter {path} cannot be set here: {reason}.")
        if isinstance(value, Mapping):
            _check_reserved(value, f"{path}.")


def _check_known(more: Mapping[str, Any]) -> None:
    """Refuse a key that CrossSim's dataclasses lack, where CrossSim can be asked."""
    try:
        from simulator import CrossSimParameters
    except ImportError:
        return
    _check_fields(more, CrossSimParameters(), "")


def _check_fields(more: Mapping[str, Any], node: Any, above: str) -> None:
    if hasattr(node, "get_adc_type") and "model" in more:
        node = type(node).get_adc_type(more["model"])()
    names = [field.name for field in dataclasses.fields(node)]
    for key, value in more.items():
        if key not in names:
            raise unknown_name("CrossSim parameter", f"{above}{key}", [f"{above}{name}" for name in names])
        inner = getattr(node, key)
        if dataclasses.is_dataclass(inner) != isinstance(value, Mapping):
            expected = "a table" if dataclasses.is_dataclass(inner) else "a value"
            raise InputError(f"CrossSim's parameter {above}{key} is {expected}, got {value!r}.")
        if isinstance(value, Mapping):
            _check_fields(value, inner, f"{above}{key}.")


def _check_circuit(tree: dict[str, Any], without_ohms: bool) -> None:
    """Parasitic resistances and I-V curves: what CrossSim 3.2 fails on, or would pass over in silence."""
    curve = tree["xbar"]["device"].get("nonlinear_IV", {})
    curved = curve.get("enable", False)
    parasitic = tree["xbar"].get("array", {}).get("parasitics", {}).get("enable", False)
    if parasitic and tree["core"]["style"] == "BITSLICED":
        raise InputError("CrossSim 3.2 fails with parasitic resistances on a bit-sliced mapping; use another mapping.")
    if curved and curve.get("model", "IdealDevice") == "IdealDevice":
        raise InputError(
            "xbar.device.nonlinear_IV.enable without a model leaves I-V curves straight in CrossSim; name one, such as "
            "RRAMMilo."
        )
    if (parasitic or curved) and without_ohms:
        raise InputError(
            "parasitic resistances and I-V curves need ohms, and this card's states are relative; give "
            "xbar.device.Rmin and Rmax beside them, or use another card."
        )
