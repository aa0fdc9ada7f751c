"""Additional CrossSim parameters that a crossbar does not have, such as I-V curves."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

from aimc_robust.errors import InputError, unknown_name

# CrossSim parameters that the backend sets or relies on, with the reason.
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


def add_extra(tree: dict[str, Any], extra: Mapping[str, Any], *, relative: bool) -> None:
    """Merge additional parameters, nested as in CrossSim, into `tree`, in place.

    `relative`: whether the device's states have no unit, so that its resistances in `tree` are meaningless.

    Raises:
        InputError: if a parameter would break the backend or fail in CrossSim.
        UnknownNameError: if CrossSim is installed and has no such parameter.
    """
    if not extra:
        return
    _check_reserved(extra)
    _check_known(extra)
    _merge(tree, extra)
    check_circuit(tree, without_ohms=relative and "Rmin" not in extra.get("xbar", {}).get("device", {}))


def _merge(tree: dict[str, Any], extra: Mapping[str, Any]) -> None:
    for key, value in extra.items():
        if isinstance(value, Mapping):
            inner = tree.setdefault(key, {})
            if not isinstance(inner, dict):
                raise InputError(f"CrossSim's parameter {key!r} is a value, not a table; got {value!r}.")
            _merge(inner, value)
        elif isinstance(tree.get(key), dict):
            raise InputError(f"CrossSim's parameter {key!r} is a table of parameters, got {value!r}.")
        else:
            tree[key] = copy.deepcopy(value)


def _check_reserved(extra: Mapping[str, Any], prefix: str = "") -> None:
    for key, value in extra.items():
        path = f"{prefix}{key}"
        if path in RESERVED or key == "_match":
            reason = RESERVED.get(path, "the backend sets mvm and vmm to the same values")
            raise InputError(f"CrossSim's parameter {path} cannot be set here: {reason}.")
        if isinstance(value, Mapping):
            _check_reserved(value, f"{path}.")


def _check_known(extra: Mapping[str, Any]) -> None:
    """Raise `UnknownNameError` for a key that is not a field of CrossSim's dataclasses, if CrossSim is installed."""
    try:
        from simulator import CrossSimParameters
    except ImportError:
        return
    _check_fields(extra, CrossSimParameters(), "")


def _check_fields(extra: Mapping[str, Any], node: Any, prefix: str) -> None:
    if hasattr(node, "get_adc_type") and "model" in extra:
        node = type(node).get_adc_type(extra["model"])()
    names = [field.name for field in dataclasses.fields(node)]
    for key, value in extra.items():
        if key not in names:
            raise unknown_name("CrossSim parameter", f"{prefix}{key}", [f"{prefix}{name}" for name in names])
        inner = getattr(node, key)
        if dataclasses.is_dataclass(inner) != isinstance(value, Mapping):
            expected = "a table" if dataclasses.is_dataclass(inner) else "a value"
            raise InputError(f"CrossSim's parameter {prefix}{key} is {expected}, got {value!r}.")
        if isinstance(value, Mapping):
            _check_fields(value, inner, f"{prefix}{key}.")


def check_circuit(tree: dict[str, Any], *, without_ohms: bool) -> None:
    """Check parasitic resistances and I-V curves for what CrossSim 3.2 fails on or silently ignores."""
    curve = tree["xbar"]["device"].get("nonlinear_IV", {})
    curved = curve.get("enable", False)
    parasitic = tree["xbar"].get("array", {}).get("parasitics", {}).get("enable", False)
    if parasitic and tree["core"]["style"] == "BITSLICED":
        raise InputError("CrossSim 3.2 fails with parasitic resistances on a bit-sliced mapping; use another mapping.")
    if curved and curve.get("model", "IdealDevice") == "IdealDevice":
        raise InputError(
            "xbar.device.nonlinear_IV.enable without a model has no effect in CrossSim; name a model, such as RRAMMilo."
        )
    if (parasitic or curved) and without_ohms:
        raise InputError(
            "parasitic resistances and I-V curves need ohms, but this device's states are relative; set "
            "xbar.device.Rmin and Rmax as well, or use another device."
        )
