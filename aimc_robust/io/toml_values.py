"""Read TOML text into plain values that JSON can hold too; everything else is refused by its key."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Sequence
from typing import Any

from aimc_robust.errors import MAX_LENGTH, InputError, short_repr

MAX_DEPTH = 32  # of nested tables and lists
MAX_INTEGER = 2**63  # TOML's integers have 64 bits


def load_toml(text: str, *, source: str) -> dict[str, Any]:
    """Parse TOML text.

    Args:
        text: The text.
        source: Origin of the text, for error messages.

    Raises:
        InputError: if it is not TOML, or holds a value that is no text, flag, finite number, list or table.
    """
    try:
        values = tomllib.loads(text)
    except RecursionError:
        raise InputError(f"{source}: values are nested too deeply; at most {MAX_DEPTH} levels are read.") from None
    except ValueError as error:  # a TOMLDecodeError, or a number of too many digits
        raise InputError(f"{source} cannot be read as TOML: {error}.") from None
    check_values(values, source=source)
    return values


def check_values(value: Any, *, source: str) -> None:
    """Raise InputError for a value that is no text, flag, finite number of 64 bits, list or table of these.

    Args:
        value: The value, as from TOML or JSON.
        source: Origin of the value, for error messages.
    """
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
        value = _quoted(value)
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


def _quoted(text: str) -> str:
    """Return text as a TOML string."""
    escaped = "".join(f"\\u{ord(c):04x}" if ord(c) < 32 or c in '"\\\x7f' else c for c in text)
    return f'"{escaped}"'
