"""The targets that a command line names: devices, times, crossbars."""

from __future__ import annotations

import re
import tomllib
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aimc_robust.devices.library import card_names
from aimc_robust.devices.limits import DAY_S, YEAR_S, require_time
from aimc_robust.errors import InputError
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.io.user_code import is_reference
from aimc_robust.targets.crossbar_options import time_label
from aimc_robust.targets.target import Target, build_target, build_targets, self_contained_target

UNITS_S = {"": 1.0, "s": 1.0, "min": 60.0, "h": 3600.0, "d": DAY_S, "y": YEAR_S}


def times_from(text: str) -> list[float]:
    """Seconds since programming, rising, from a list such as 0,1h,1d,5d. Raises InputError."""
    times = []
    for part in text.split(","):
        found = re.fullmatch(r"(\d+(?:\.\d+)?(?:e\d+)?)\s*(s|min|h|d|y)?", part.strip())
        if found is None:
            raise InputError(f"times are numbers with s, min, h, d or y, such as 0,1h,1d,5d; got {part.strip()!r}.")
        times.append(float(found[1]) * UNITS_S[found[2] or ""])
        require_time(times[-1])
    return sorted(set(times))


def options_from(settings: Sequence[str]) -> dict[str, Any]:
    """Nested keys from settings such as rows=256 and adc.bits=8, values in TOML (bare words are texts)."""
    options: dict[str, Any] = {}
    for setting in settings:
        key, sign, value = setting.partition("=")
        if not sign or not re.fullmatch(r"\w+(\.\w+)*", key.strip()):
            raise InputError(f"expected KEY=VALUE, such as rows=256 or adc.bits=8, got {setting!r}.")
        *tables, last = key.strip().split(".")
        inner = options
        for name in tables:
            inner = inner.setdefault(name, {})
            if not isinstance(inner, dict):
                raise InputError(f"{setting}: {name} has been given a value already and cannot have keys too.")
        inner[last] = _value(value.strip())
    return options


def target_tables(devices: Sequence[str], times_s: Sequence[float], options: dict[str, Any]) -> list[Any]:
    """What a question holds for these devices: each at each time, noises as they are; cards written out.

    devices: names of cards, paths of your own, noises such as gaussian-0.05, or tables in TOML's inline form, such as
    {name = "small", device = "sonos-agrawal2022", rows = 64}. options: keys of a target table, for all devices.
    A device that does not change with time is evaluated at the first time alone. Raises InputError; warnings of what
    leaves a card's limits come with the evaluation.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return _tables(devices, times_s, options)


def _tables(devices: Sequence[str], times_s: Sequence[float], options: dict[str, Any]) -> list[Any]:
    found: list[Any] = []
    for device in devices:
        if device.lstrip().startswith("{"):
            table: Any = {**options, **_inline(device)}
        elif device.endswith(".toml") or is_reference(device) or device in card_names():
            table = {**options, "device": device}
        else:
            table = device
        table = self_contained_target(table, Path())
        target = build_target(table)
        check_deployable(target)
        if isinstance(target.condition, Crossbar) and "time_s" not in table:
            found += _over_times(table, target.name, target.condition, times_s)
        elif target.condition is not None:  # digital weights are always evaluated
            found.append(table)
    if not found:
        raise InputError("expected at least one --device to evaluate on: a card's name, your own .toml, or a noise.")
    names = Counter(built.name for table in found for built in build_targets(table))
    twice = sorted(name for name, count in names.items() if count > 1)
    if twice:
        raise InputError(f'the target {twice[0]} is there twice; name one of them: {{name = "...", device = ...}}.')
    return found


def check_deployable(target: Target) -> None:
    """Raise InputError for a target that only a comparison can evaluate."""
    if target.direction is not None or target.split != "test":
        raise InputError(
            f"the target {target.name} has a radius, a landscape or training images, which are for the targets of "
            "`compare`; give a device or a noise of a given strength."
        )


def _over_times(table: dict[str, Any], name: str, crossbar: Crossbar, times_s: Sequence[float]) -> list[dict[str, Any]]:
    changes = crossbar.card.depends_on_time
    return [
        {**table, "name": name + (f"-{time_label(time_s)}" if time_s else "").replace("+", ""), "time_s": time_s}
        for time_s in (times_s if changes else times_s[:1])
    ]


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _inline(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(f"target = {text}")["target"]
    except tomllib.TOMLDecodeError as error:
        raise InputError(
            f"{text} is no table in TOML's inline form ({error}); expected such as "
            '{name = "small", device = "sonos-agrawal2022", rows = 64}.'
        ) from None
