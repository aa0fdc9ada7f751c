"""From the files that a question is written in to one plain dictionary: inheritance, scale, overrides, sweeps."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aimc_robust.errors import InputError, unknown_name
from aimc_robust.experiments.spec.published_table import insert_published_values
from aimc_robust.experiments.spec.sweeps import expand_methods, scale_strengths
from aimc_robust.io.toml import read_values, to_toml

Values = dict[str, Any]
REPLACED_WHOLE = ("model", "ramp")  # half of another network or ramp would be neither


def read_spec(path: Path, *, scale: str | None = None, overrides: Sequence[str] = ()) -> Values:
    """The keys of the spec at `path`: what it extends, its `scale`, then `overrides`, then its sweeps written out.

    overrides: texts `KEY=VALUE`, with a dotted key and a value in TOML. `scale` and `overrides` are kept in the result.
    Raises InputError for a file that is missing or no TOML, inheritance in a circle, or an override that says nothing;
    UnknownNameError for a scale that the spec does not have.
    """
    values = _inherited(path, ())
    scales = values.get("scale", {})
    whole = isinstance(scales, str)  # written out before, see `resolved_toml`: what it multiplies is scale_strengths
    changes = [parse_override(text) for text in overrides]
    if scale is None and any(keys.get("multiply") for keys in ([] if whole else [values]) + changes):
        raise InputError(f"{path}: multiply is part of a scale, as in [scale.mini]; give one by --scale.")
    if not whole:
        values.pop("scale", None)
    if scale is not None:
        if not isinstance(scales, dict) or scale not in scales:
            raise unknown_name(f"scale of {path}", scale, list(scales) if isinstance(scales, dict) else [])
        if not isinstance(scales[scale], dict):
            raise InputError(f"{path}: scale.{scale} is a table of keys of a spec, got {scales[scale]!r}.")
        values = deep_merge(values, scales[scale]) | {"scale": scale}
    for change in changes:
        values = deep_merge(values, change, literal=True)
    if overrides:
        values["overrides"] = list(overrides)
    if isinstance(values.get("methods"), dict):
        values["methods"] = expand_methods(values["methods"])
    return scale_strengths(values, values["multiply"]) if scale is not None and "multiply" in values else values


def resolved_toml(path: Path, *, scale: str | None = None, overrides: Sequence[str] = ()) -> str:
    """The spec as one TOML text that needs no other but its data and cards: the author's own where that is so, else
    with what it extends, its scale, overrides and published figures written out.
    """
    text = path.read_text(encoding="utf-8-sig")
    own = read_values(path, what="spec")
    if scale is None and not overrides and "extends" not in own and "published" not in own.get("paper", {}):
        return text
    values = read_spec(path, scale=scale, overrides=overrides)
    if "paper" in values:
        values["paper"] = insert_published_values(values["paper"], path.parent)
    how = "".join([f" at scale {scale}" if scale else "", f" with {', '.join(overrides)}" if overrides else ""])
    return f"# {path.name}{how}, written out whole by aimc-robust.\n{to_toml(values)}"


def _inherited(path: Path, above: tuple[Path, ...]) -> Values:
    """The file's keys over those of the file that it extends."""
    here = path.resolve()
    if here in above:
        circle = " -> ".join(file.name for file in (*above[above.index(here) :], here))
        raise InputError(f"{path} extends itself in a circle ({circle}); take one `extends` out.")
    values = read_values(path, what="spec")
    base = values.pop("extends", None)
    if base is None:
        return values
    if not isinstance(base, str):
        raise InputError(f"{path}: extends is the path of another spec, got {base!r}.")
    return deep_merge(_inherited(path.parent / base, (*above, here)), values)


def deep_merge(under: Values, over: Values, *, literal: bool = False) -> Values:
    """`over` laid on `under`: tables key by key, anything else replaced.

    A table of REPLACED_WHOLE that names another network or ramp replaces the one below it. literal: it never does.
    """
    result = dict(under)
    for key, value in over.items():
        below = result.get(key)
        both = isinstance(below, dict) and isinstance(value, dict)
        if both and not literal and key in REPLACED_WHOLE and _another(below, value):
            both = False
        result[key] = deep_merge(below, value, literal=literal) if both else value
    return result


def _another(below: Values, value: Values) -> bool:
    """Whether a table stands for something else than the one below it: another name or shape."""
    return any(key in value and value[key] != below.get(key) for key in ("name", "shape"))


def parse_override(text: str) -> Values:
    """`training.epochs=2` as nested tables. A value that is no TOML is taken as a text, as a shell leaves it."""
    key, equals, value = text.partition("=")
    parts = [part.strip().strip('"') for part in _key_parts(key)]
    if not equals or not all(parts):
        raise InputError(f"--set takes KEY=VALUE, such as training.epochs=2, got {text!r}.")
    try:
        found: Any = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        found = value.strip()
    for part in reversed(parts):
        found = {part: found}
    return found


def _key_parts(key: str) -> list[str]:
    """A dotted key's parts; a part in quotes may hold dots: methods."rwp-0.05".sigma."""
    parts, quoted = [""], False
    for character in key.strip():
        if character == '"':
            quoted = not quoted
        if character == "." and not quoted:
            parts.append("")
        else:
            parts[-1] += character
    return parts
