"""Read TOML files into pydantic models, with errors that name the file, the key and the allowed values."""

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import pydantic  # validates schema and types of cards and specs
import pydantic_core

from aimc_robust.errors import InputError, nearest_name, short_repr, unknown_name
from aimc_robust.io.toml_values import load_toml


class StrictModel(pydantic.BaseModel):
    """Frozen, strict base model: no number from text, no NaN, no unknown key (the nearest known one is suggested)."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _known_keys(cls, values: Any) -> Any:
        if isinstance(values, dict) and cls.model_config.get("extra") == "forbid":
            names = {field.alias or name for name, field in cls.model_fields.items()}
            for key in values:
                if key not in names:
                    raise ValueError(str(unknown_name("key", key, names)))
        return values


Model = TypeVar("Model", bound=StrictModel)


def read_toml(path: Path, model: type[Model], *, kind: str) -> Model:
    """Read a TOML file into a model.

    Args:
        path: File to read.
        model: Class that validates the content.
        kind: What the file is, such as "device card", for error messages.

    Returns:
        The validated model.

    Raises:
        InputError: if the file is missing, not TOML or invalid; the message names the file and every invalid key.
    """
    return parse(read_values(path, kind=kind), model, source=str(path))


def read_values(path: Path, *, kind: str) -> dict[str, Any]:
    """Read the tables and keys of a TOML file.

    Args:
        path: File to read.
        kind: What the file is, for error messages.

    Returns:
        Its content.

    Raises:
        InputError: if the file is missing or not TOML.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"there is no {kind} at {path}; give the path of an existing TOML file.") from None
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a path with a null character
        raise InputError(f"{short_repr(str(path))} cannot be read as a {kind} in TOML: {error}.") from None
    return load_toml(text, source=str(path))


def parse(values: dict[str, Any], model: type[Model], *, source: str) -> Model:
    """Validate values against a model.

    Args:
        values: Keys and values, nested as in TOML.
        model: Class that validates them.
        source: Origin of the values, for error messages.

    Returns:
        The validated model.

    Raises:
        InputError: if a value is invalid; the message names every invalid key.
    """
    parsed: Model = parse_value(values, model, source=source)
    return parsed


def parse_value(value: Any, kind: Any, *, source: str) -> Any:
    """Validate a value against a type.

    Args:
        value: Values as in TOML.
        kind: A model, or any type that pydantic validates.
        source: Origin of the value, for error messages.

    Returns:
        The validated value.

    Raises:
        InputError: if it is invalid; the message names every invalid key.
    """
    try:
        return type_adapter(kind).validate_python(value)
    except pydantic.ValidationError as error:
        texts = dict.fromkeys(error_text(detail, value) for detail in error.errors())
        raise InputError(f"{source}: " + "; ".join(texts)) from None


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
    for number, part in enumerate(location, start=1):
        is_key = isinstance(value, dict) and part in value
        is_index = isinstance(value, list | tuple) and isinstance(part, int) and part < len(value)
        if is_key or is_index:
            value = value[part]
        elif number < len(location) or not is_missing:
            continue  # a member of a union, or [key]
        yield str(part) if re.fullmatch(r"[\w.-]+", str(part)) else short_repr(part)
