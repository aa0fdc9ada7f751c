"""Sweeps: one entry of a spec's methods that stands for many, and strengths scale_strengths at another scale."""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Mapping
from typing import Any

from aimc_robust.errors import InputError, require_finite

Values = dict[str, Any]
STRENGTHS = ("rho", "sigma", "b")


def expand_methods(methods: Mapping[str, Any]) -> Values:
    """The methods with each `sweep = { key = [values], ... }` written out, a method for each combination.

    A key may be dotted (`ramp.updates`, `model.name`); the label's `{key}` becomes the value. Raises InputError for a
    sweep without values, a label that would not tell the combinations apart, or one that is there already.
    """
    expanded: Values = {}
    for label, table in methods.items():
        for name, one in _combinations(label, table):
            if name in expanded:
                raise InputError(
                    f"methods: the label {name!r} stands for two methods; change one of the labels, or the sweep by "
                    "its own label."
                )
            expanded[name] = one
    return expanded


def _combinations(label: str, table: Any) -> list[tuple[str, Any]]:
    if not isinstance(table, dict) or "sweep" not in table:
        return [(label, table)]
    sweep = table["sweep"]
    if not isinstance(sweep, dict) or not sweep or not all(isinstance(v, list) and v for v in sweep.values()):
        raise InputError(f"methods.{label}: a sweep is a table of keys and lists of values, got {sweep!r}.")
    absent = [key for key, values in sweep.items() if len(values) > 1 and f"{{{key}}}" not in label]
    if absent:
        raise InputError(f"methods.{label}: the label must hold {{{absent[0]}}}, or the sweep's methods share a name.")
    found = []
    for values in itertools.product(*sweep.values()):
        one = {key: copy.deepcopy(value) for key, value in table.items() if key != "sweep"}
        name = label
        for key, value in zip(sweep, values, strict=True):
            _set(one, key.split("."), value)
            name = name.replace(f"{{{key}}}", written(value))
        found.append((name, one))
    return found


def _set(table: Values, path: list[str], value: Any) -> None:
    for part in path[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise InputError(f"a sweep over {'.'.join(path)} needs a table {part}, got {table!r}.")
    table[path[-1]] = value


def written(value: Any) -> str:
    """A swept value as part of a label: numbers short, and nothing that a label may not hold."""
    text = f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)


def scale_strengths(values: Values, factors: Mapping[str, float]) -> Values:
    """The spec with its strengths times factors: rho, sigma or b of methods, of noises that are targets or that methods
    train with, and sigma of early stopping and of `selected_at`. Labels and names stay those of the original.
    """
    if not isinstance(factors, Mapping):
        raise InputError(f"multiply is a table of factors, such as {{ rho = 0.25 }}, got {factors!r}.")
    for key, factor in factors.items():
        if key not in STRENGTHS:
            raise InputError(f"multiply takes {', '.join(STRENGTHS)}, got {key!r}.")
        require_finite(f"multiply.{key}", factor)
    values = copy.deepcopy(values)
    methods, targets = values.get("methods"), values.get("targets")
    tables = [table for table in methods.values() if isinstance(table, dict)] if isinstance(methods, dict) else []
    for table in tables:
        _times(table, factors)
        if "noise" in table:
            table["noise"] = _target_times(table["noise"], factors)
    if isinstance(targets, list):
        values["targets"] = [_target_times(target, factors) for target in targets]
    for training in (table.get("training") for table in [values, *tables]):
        if isinstance(training, dict):
            _times(training.get("early_stopping"), factors)
    return values


def _times(table: Any, factors: Mapping[str, float]) -> None:
    for key, factor in factors.items():
        if isinstance(table, dict) and key in table:
            value = table[key]
            table[key] = [_product(v, factor) for v in value] if isinstance(value, list) else _product(value, factor)


def _product(value: Any, factor: float) -> Any:
    """What is no number stays, for whoever reads it to refuse."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return round(value * factor, 12) if number else value


def _target_times(target: Any, factors: Mapping[str, float]) -> Any:
    named = re.fullmatch(r"(gaussian|laplace)-(\d+(?:\.\d+)?)", target) if isinstance(target, str) else None
    if named:
        strength = "sigma" if named[1] == "gaussian" else "b"
        if strength not in factors:
            return target
        target = {"name": target, "noise": named[1], strength: float(named[2])}
    if isinstance(target, dict):
        if "sigma" in factors:
            _times(target, {"selected_at": factors["sigma"]})
        _times(target, {key: factor for key, factor in factors.items() if "noise" in target})
    return target
