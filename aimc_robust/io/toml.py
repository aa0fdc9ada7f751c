"""Read TOML into plain values and into pydantic models, with errors that name file, key and allowed values."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pydantic  # validates schema and types of cards and specs
import pydantic_core
import tomli_w  # writes what tomllib reads

from aimc_robust.errors import MAX_LENGTH, PROBLEM, InputError, nearest_name, short_repr, unknown_name

MAX_DEPTH = 32  # of nested tables and lists
MAX_INTEGER = 2**63  # TOML's integers have 64 bits


class StrictModel(pydantic.BaseModel):
    """Frozen, strict base model: no number from text, no NaN, no unknown key (the nearest known one is suggested)."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)
    stored_keys: ClassVar[frozenset[str]] = frozenset()
    """Keys that aimc-robust writes into a results folder; messages do not offer them."""

    @pydantic.model_validator(mode="before")
    @classmethod
    def _known_keys(cls, values: Any) -> Any:
        if isinstance(values, dict) and cls.model_config.get("extra") == "forbid":
            fields = cls.model_fields.items()
            names = {field.alias or name for name, field in fields}
            for key in values:
                if key not in names:
                    tables = {name: getattr(field.annotation, "model_fields", ()) for name, field in fields}
                    within = [f"{name}.{key}" for name, keys in tables.items() if key in keys]
                    raise ValueError(str(unknown_name("key", key, names - cls.stored_keys, within=within)))
        return values


Model = TypeVar("Model", bound=StrictModel)


def read_toml(path: Path, model: type[Model], *, kind: str) -> Model:
    """Read a TOML file into a model; `kind` says what the file is, such as "device card".

    Raises:
        InputError: if the file is missing, not TOML or invalid; the message names the file and every invalid key.
    """
    return parse(read_values(path, kind=kind), model, source=str(path))


def read_values(path: Path, *, kind: str) -> dict[str, Any]:
    """Read the tables and keys of a TOML file, as `read_toml`."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"there is no {kind} at {path}; give the path of an existing TOML file.") from None
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a path with a null character
        raise InputError(f"{short_repr(str(path))} cannot be read as a {kind} in TOML: {error}.") from None
    return load_toml(text, source=str(path))


def load_toml(text: str, *, source: str) -> dict[str, Any]:
    """Parse TOML text from `source`. Raise InputError if it is none, or see `check_values`."""
    try:
        values = tomllib.loads(text)
    except RecursionError:
        raise InputError(f"{source}: values are nested too deeply; at most {MAX_DEPTH} levels are read.") from None
    except ValueError as error:  # a TOMLDecodeError, or a number of too many digits
        raise InputError(f"{source} cannot be read as TOML: {error}.") from None
    check_values(values, source=source)
    return values


def check_values(value: Any, *, source: str) -> None:
    """Raise InputError for a value of TOML or JSON that is no text, flag, number, list or table that both can hold."""
    pending: list[tuple[str, Any, int]] = [("", value, 0)]
    while pending:
        key, value, depth = pending.pop()
        shown = key if len(key) <= MAX_LENGTH else f"{key[:MAX_LENGTH]} ..."
        prefix = f"{source}: {shown}: " if key else f"{source}: "
        if depth > MAX_DEPTH:
            raise InputError(f"{prefix}values are nested too deeply; at most {MAX_DEPTH} levels are read.")
        if isinstance(value, dict):
            pending += [(f"{key}.{name}" if key else str(name), item, depth + 1) for name, item in value.items()]
        elif isinstance(value, list):
            pending += [(f"{key}.{number}", item, depth + 1) for number, item in enumerate(value)]
        elif isinstance(value, int | float) and not isinstance(value, bool):
            if not math.isfinite(value) if isinstance(value, float) else abs(value) >= MAX_INTEGER:
                raise InputError(f"{prefix}expected a finite number of 64 bits, got {short_repr(value)}.")
        elif not isinstance(value, str | bool | None):
            raise InputError(f"{prefix}expected a text, number, true, false, list or table, got {short_repr(value)}.")


def parse(values: dict[str, Any], model: type[Model], *, source: str) -> Model:
    """Validate values against a model, see `parse_value`."""
    return parse_value(values, model, source=source)


def parse_value(value: Any, kind: Any, *, source: str) -> Any:
    """Validate a value from `source`, as in TOML, against a model or any type that pydantic validates.

    Raises:
        InputError: if it is invalid; the message names every invalid key.
    """
    try:
        return type_adapter(kind).validate_python(value)
    except pydantic.ValidationError as error:
        texts = list(dict.fromkeys(error_text(detail, value) for detail in error.errors()))
        listed = texts[0] if len(texts) == 1 else f"{len(texts)} errors:{PROBLEM}{PROBLEM.join(texts)}"
        raise InputError(f"{source}: {listed}") from None


@lru_cache
def type_adapter(kind: Any) -> pydantic.TypeAdapter[Any]:
    """Return what validates values of a type, built once for each type."""
    return pydantic.TypeAdapter(kind)


def error_text(detail: pydantic_core.ErrorDetails, value: Any) -> str:
    """Return one validation error of `value` as a clause: key, expected value, actual value."""
    key = ".".join(_key_parts(detail["loc"], value, is_missing=detail["type"] == "missing"))
    prefix = f"{key}: " if key else ""
    message = detail["msg"].removeprefix("Value error, ").rstrip(".")
    context = detail.get("ctx", {})
    if detail["type"] == "value_error":
        return prefix + message
    if detail["type"] == "missing":
        return f"{prefix}this key is required and missing"
    got = detail["input"]
    if detail["type"] == "union_tag_invalid":
        prefix = f"{prefix}{context['discriminator'].strip(chr(39))}: "
        message, got = f"expected one of {context['expected_tags']}", context["tag"]
    suggestion = ""
    if isinstance(got, str) and detail["type"] in ("union_tag_invalid", "literal_error"):
        suggestion = nearest_name(got, re.findall(r"'([^']*)'", message))
    return f"{prefix}{message[:1].lower()}{message[1:]}, got {short_repr(got)}{suggestion and f' ({suggestion})'}"


def _key_parts(location: tuple[int | str, ...], value: Any, *, is_missing: bool) -> Iterator[str]:
    """Yield the keys that lead to an error, without pydantic's names of the members of a union."""
    key: object = None
    for number, part in enumerate(location, start=1):
        is_key = isinstance(value, dict) and part in value
        is_index = isinstance(value, list | tuple) and isinstance(part, int) and part < len(value)
        if is_key or is_index:
            value = value[part]
        elif number < len(location) or not is_missing:
            continue  # a member of a union, or [key]
        is_pattern = key == "layers" and is_index and isinstance(value, list) and value and isinstance(value[0], str)
        if key != "<pattern>":  # after it comes the index of what the pattern has
            shown = str(value[0]) if is_pattern else str(part)  # pairs are a table whose order counts
            yield shown if re.fullmatch(r"[\w.-]+", shown) else short_repr(value[0] if is_pattern else part)
        key = "<pattern>" if is_pattern else part


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """Parse settings such as rows=256, adc.bits=8 and methods."rwp-0.05".sigma=0.1 into nested tables.

    Args:
        settings: Texts KEY=VALUE. KEY is a dotted key of TOML, VALUE is TOML; what is not TOML is taken as text.

    Raises:
        InputError: if a setting has no key or value, or a key has a value already.
    """
    merged: dict[str, Any] = {}
    for setting in settings:
        _merge(merged, parse_setting(setting), setting)
    return merged


def parse_setting(setting: str) -> dict[str, Any]:
    """Parse one setting, see `parse_settings`."""
    key, equals, value = (part.strip() for part in setting.partition("="))
    what = short_repr(setting)
    if not equals or not key or not value or "\n" in setting or "\r" in setting:
        raise InputError(f"--set takes KEY=VALUE, such as training.epochs=2 or adc.bits=8, got {what}.")
    try:
        is_key = bool(tomllib.loads(f"{key} = 0"))  # a comment is none
    except ValueError:
        is_key = False
    if not is_key:
        raise InputError(f"--set takes KEY=VALUE with a dotted key of TOML, got {what}.") from None
    try:
        tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError:
        escaped = "".join(f"\\u{ord(c):04x}" if ord(c) < 32 or c in '"\\\x7f' else c for c in value)
        value = f'"{escaped}"'
    except (ValueError, RecursionError):
        pass  # reported by `load_toml`
    return load_toml(f"{key} = {value}", source=f"--set {what}")


def _merge(merged: dict[str, Any], table: dict[str, Any], setting: str) -> None:
    for key, value in table.items():
        if key not in merged:
            merged[key] = value
        elif isinstance(merged[key], dict) and isinstance(value, dict):
            _merge(merged[key], value, setting)
        else:
            raise InputError(f"--set {short_repr(setting)}: {key} has a value already.")


def inline_toml(value: Any) -> str:
    """Write a value as TOML on one line, with tables as inline tables."""
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{toml_key(key)} = {inline_toml(each)}' for key, each in value.items())} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(inline_toml, value))}]"
    return tomli_w.dumps({"x": value}).removeprefix("x = ").strip()


def toml_key(key: str) -> str:
    """Write a key as TOML, in quotes where it needs them."""
    return tomli_w.dumps({key: 0}).removesuffix(" = 0\n")
