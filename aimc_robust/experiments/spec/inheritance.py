"""Read a spec file into one dictionary: inheritance, scale, overrides and sweeps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tomli_w

from aimc_robust.errors import InputError, unknown_name
from aimc_robust.experiments.spec.sweeps import expand_methods, scale_strengths
from aimc_robust.io.toml import parse_setting, read_values

Values = dict[str, Any]
REPLACED_TABLES = ("model", "ramp", "task")  # keys of two different networks, ramps or tasks must not be mixed


def read_spec(path: Path, *, scale: str | None = None, overrides: Sequence[str] = ()) -> Values:
    """Read the keys of a spec: what it extends, its own keys, then `scale`, then `overrides`; sweeps are expanded.

    Args:
        path: The TOML file.
        scale: Name of a table `[scale.NAME]` whose keys override those of the spec; keys that it lists in `remove`,
            such as "training.early_stopping", are left out. If it `extends` another scale, it is applied after that.
        overrides: Texts `KEY=VALUE` with a dotted key and a value in TOML.

    Returns:
        The keys of a `ComparisonSpec`. `scale` and `overrides` are recorded among them.
    """
    values = _read_inherited(path)
    scales = values.get("scale", {})
    is_resolved = isinstance(scales, str)  # written by `resolved_toml`: strengths are multiplied already
    changes = [parse_setting(text) for text in overrides]
    if scale is None and any(keys.get("multiply") for keys in ([] if is_resolved else [values]) + changes):
        raise InputError(f"{path}: `multiply` belongs to a scale, as in [scale.mini]; choose one by --scale.")
    if not is_resolved:
        values.pop("scale", None)
    if scale is not None:
        for name, table in _scale_tables(path, scales, scale):
            values = _at_scale(values, table, f"{path}: scale.{name}")
        values["scale"] = scale
    for change in changes:
        values = deep_merge(values, change, literal=True)
    if overrides:
        values["overrides"] = list(overrides)
    try:
        if isinstance(values.get("methods"), dict):
            values["methods"] = expand_methods(values["methods"])
        return scale_strengths(values, values["multiply"]) if scale is not None and "multiply" in values else values
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def scale_names(path: Path) -> list[str]:
    """Return the names of the scales of a spec."""
    scales = _read_inherited(path).get("scale")
    return list(scales) if isinstance(scales, dict) else []


def _scale_tables(path: Path, scales: Any, scale: str) -> list[tuple[str, Values]]:
    """Return names and tables of a scale and of the scales that it extends, in the order in which they are applied."""
    known = list(scales) if isinstance(scales, dict) else []
    tables: dict[str, Values] = {}
    name: Any = scale
    while name is not None:
        source = f"scale.{next(reversed(tables), scale)}"
        if not isinstance(name, str):
            raise InputError(f"{path}: {source}.extends must be the name of a scale of the spec, got {name!r}.")
        if name in tables:
            circle = " -> ".join([*tables, name])
            raise InputError(f"{path}: `extends` of scales forms a circle ({circle}); remove one of them.")
        if name not in known:
            raise unknown_name(f"scale of {path}", name, known, advice=f"{source} extends it." if tables else "")
        tables[name] = scales[name]
        if not isinstance(tables[name], dict):
            raise InputError(f"{path}: scale.{name} must be a table of keys of a spec, got {tables[name]!r}.")
        name = tables[name].get("extends")
    return list(reversed(tables.items()))


def _at_scale(values: Values, scale: Values, source: str) -> Values:
    """Return the keys of a spec at a scale: without those that it removes, and with its own."""
    removed = scale.get("remove", [])
    if not isinstance(removed, list):
        raise InputError(f'{source}.remove must be a list of keys, such as ["diagnostics"], got {removed!r}.')
    for key in removed:
        try:
            values = _without(values, str(key).split("."))
        except KeyError:
            raise InputError(f"{source}.remove: the spec has no key {key!r}; give one that it has.") from None
    return deep_merge(values, {key: value for key, value in scale.items() if key not in ("extends", "remove")})


def _without(values: Any, keys: Sequence[str]) -> Any:
    """Return `values` without the key that `keys` leads to, table by table; in a list, from every table that has it.

    Raises:
        KeyError: If there is no such key.
    """
    if isinstance(values, list):
        found = [isinstance(item, dict) and keys[0] in item for item in values]
        if not any(found):
            raise KeyError(keys[0])
        return [_without(item, keys) if has else item for item, has in zip(values, found, strict=True)]
    if not isinstance(values, dict):
        raise KeyError(keys[0])
    first, *rest = keys
    if rest:
        return values | {first: _without(values[first], rest)}
    if first not in values:
        raise KeyError(first)
    return {name: value for name, value in values.items() if name != first}


def resolved_toml(path: Path, *, scale: str | None = None, overrides: Sequence[str] = ()) -> str:
    """Return the spec as one TOML text that needs no other file but its data and cards.

    The author's own text is returned if it is complete. Otherwise inheritance, scale and overrides are written out.
    """
    if scale is None and not overrides and "extends" not in read_values(path, kind="spec"):
        return path.read_text(encoding="utf-8-sig")
    values = read_spec(path, scale=scale, overrides=overrides)
    changes = "".join([f" at scale {scale}" if scale else "", f" with {', '.join(overrides)}" if overrides else ""])
    return f"# {path.name}{changes}, written out whole by aimc-robust.\n{tomli_w.dumps(values)}"


def _read_inherited(path: Path, children: tuple[Path, ...] = ()) -> Values:
    """Merge the keys of the file over those of the file that it extends. `children` extend this file."""
    resolved = path.resolve()
    if resolved in children:
        circle = " -> ".join(file.name for file in (*children[children.index(resolved) :], resolved))
        raise InputError(f"{path}: `extends` forms a circle ({circle}); remove one of them.")
    values = read_values(path, kind="spec")
    base = values.pop("extends", None)
    if base is None:
        return values
    if not isinstance(base, str):
        raise InputError(f"{path}: `extends` must be the path of another spec, got {base!r}.")
    return deep_merge(_read_inherited(path.parent / base, (*children, resolved)), values)


def deep_merge(base: Values, override: Values, *, literal: bool = False) -> Values:
    """Return `base` updated with `override`: tables key by key, any other value replaced.

    A table of REPLACED_TABLES that names another network, ramp or task replaces the whole table of `base`, unless
    `literal`.
    """
    result = dict(base)
    for key, value in override.items():
        previous = result.get(key)
        if isinstance(previous, dict) and isinstance(value, dict) and (literal or not _replaces(key, previous, value)):
            value = deep_merge(previous, value, literal=literal)
        result[key] = value
    return result


def _replaces(table: str, base: Values, override: Values) -> bool:
    """Return whether an override names another network, ramp or task than the table below it."""
    return table in REPLACED_TABLES and any(
        key in override and override[key] != base.get(key) for key in ("name", "shape", "kind")
    )
