"""Expand sweeps of a spec's methods, and multiply strengths for a smaller scale."""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Mapping
from typing import Any

from aimc_robust.errors import InputError, exact_text, require_finite

Values = dict[str, Any]
STRENGTHS = ("rho", "sigma", "b")


def expand_methods(methods: Mapping[str, Any]) -> Values:
    """Replace each method with `sweep = { key = [values], ... }` by one method per combination of values.

    A key may be dotted (`ramp.updates`, `model.name`). `{key}` in the label is replaced by the value.
    """
    expanded: Values = {}
    for label, table in methods.items():
        for expanded_label, expanded_table in _combinations(label, table):
            if expanded_label in expanded:
                raise InputError(
                    f"methods: two methods have the label {expanded_label!r}; change one of the labels, or the label "
                    "of the sweep."
                )
            expanded[expanded_label] = expanded_table
    return expanded


def _combinations(label: str, table: Any) -> list[tuple[str, Any]]:
    """Return (label, table) of each combination; a table without a sweep is its only one."""
    if not isinstance(table, dict) or "sweep" not in table:
        return [(label, table)]
    sweep = table["sweep"]
    if not isinstance(sweep, dict) or not sweep or not all(isinstance(v, list) and v for v in sweep.values()):
        raise InputError(f"methods.{label}: a sweep must be a table of keys and lists of values, got {sweep!r}.")
    absent = [key for key, values in sweep.items() if len(values) > 1 and f"{{{key}}}" not in label]
    if absent:
        raise InputError(
            f"methods.{label}: the label must contain {{{absent[0]}}}, so that each method has its own label."
        )
    combinations = []
    for values in itertools.product(*sweep.values()):
        combination = {key: copy.deepcopy(value) for key, value in table.items() if key != "sweep"}
        name = label
        for key, value in zip(sweep, values, strict=True):
            _set_nested(combination, key.split("."), value)
            name = name.replace(f"{{{key}}}", _label_text(value))
        combinations.append((name, combination))
    return combinations


def _set_nested(table: Values, path: list[str], value: Any) -> None:
    for part in path[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise InputError(f"a sweep over {'.'.join(path)} needs a table {part}, got {table!r}.")
    table[path[-1]] = value


def _label_text(value: Any) -> str:
    """Format a swept value for a label: short numbers, and only characters that a label may contain."""
    text = exact_text(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)


def scale_strengths(values: Values, factors: Mapping[str, float]) -> Values:
    """Return a copy of a spec whose strengths are multiplied; labels and names stay.

    Strengths are rho, sigma or b of methods, of noises that are targets or that methods train with, and sigma of early
    stopping and of `selected_at`. `factors` maps some of STRENGTHS to factors.
    """
    if not isinstance(factors, Mapping):
        raise InputError(f"multiply must be a table of factors, such as {{ rho = 0.25 }}, got {factors!r}.")
    for key, factor in factors.items():
        if key not in STRENGTHS:
            raise InputError(f"multiply takes {', '.join(STRENGTHS)}, got {key!r}.")
        require_finite(f"multiply.{key}", factor)
    values = copy.deepcopy(values)
    methods, targets = values.get("methods"), values.get("targets")
    tables = [table for table in methods.values() if isinstance(table, dict)] if isinstance(methods, dict) else []
    for table in tables:
        _scale_table(table, factors)
        if "noise" in table:
            table["noise"] = _scale_target(table["noise"], factors)
    if isinstance(targets, list):
        values["targets"] = [_scale_target(target, factors) for target in targets]
    for training in (table.get("training") for table in [values, *tables]):
        if isinstance(training, dict):
            _scale_table(training.get("early_stopping"), factors)
    return values


def _scale_table(table: Any, factors: Mapping[str, float]) -> None:
    for key, factor in factors.items():
        if isinstance(table, dict) and key in table:
            value = table[key]
            table[key] = [_product(v, factor) for v in value] if isinstance(value, list) else _product(value, factor)


def _product(value: Any, factor: float) -> Any:
    """Multiply a number; anything else is returned as it is, for the validation of its key to report."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return round(value * factor, 12) if number else value


def _scale_target(target: Any, factors: Mapping[str, float]) -> Any:
    named = re.fullmatch(r"(gaussian|laplace)-(\d+(?:\.\d+)?)", target) if isinstance(target, str) else None
    if named:
        strength = "sigma" if named[1] == "gaussian" else "b"
        if strength not in factors:
            return target
        target = {"name": target, "noise": named[1], strength: float(named[2])}
    if isinstance(target, dict):
        if "sigma" in factors:
            _scale_table(target, {"selected_at": factors["sigma"]})
        _scale_table(target, {key: factor for key, factor in factors.items() if "noise" in target})
    return target
