"""Targets as a command line names them: devices, times, crossbar options."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aimc_robust.devices.library import card_names, preset_names
from aimc_robust.devices.limits import require_time
from aimc_robust.errors import InputError, short_repr, warn
from aimc_robust.hardware.config.layer_patterns import ALL
from aimc_robust.hardware.config.placement import DIGITAL
from aimc_robust.io.toml import load_toml
from aimc_robust.io.user_code import is_reference
from aimc_robust.targets.build import LOST_COMPENSATION, build_target, build_targets, self_contained_target
from aimc_robust.targets.entries import reference_table
from aimc_robust.targets.layer_entries import LayerTable
from aimc_robust.targets.target import UNITS_S, CrossbarTarget, DeployableTarget, DigitalTarget, Target, time_label

EVALUATED_ONCE = ".*: it is evaluated once"  # a warning


def target_tables(
    devices: Sequence[str], times_s: Sequence[float], options: dict[str, Any], layers: Sequence[str] = ()
) -> list[Any]:
    """Return the targets of an evaluation spec: each device at each time, with its card embedded, and each noise.

    A device that does not change with time is evaluated at the first time only.

    Args:
        devices: Names of cards and presets, paths of cards, import paths `package.module:name` of cell models or
            noises, names of noises such as gaussian-0.05, or inline TOML tables such as
            {name = "small", device = "sonos-agrawal2022", rows = 64}.
        times_s: Seconds since programming.
        options: Keys of a target table, for all devices.
        layers: Texts PATTERN=digital or PATTERN=device, for layers that are not on the devices, see `Placement`. The
            options that are arguments of `Crossbar` hold for their devices too.

    Raises:
        InputError: if an argument is invalid. Warnings about limits of a device appear when it is evaluated.
    """
    if not isinstance(options.get("layers", {}), dict):
        raise InputError("--set layers takes keys, such as layers.conv1=digital; or use --layer conv1=digital.")
    if layers:
        options = options | {"layers": _layer_places(layers, options)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for message in (LOST_COMPENSATION, EVALUATED_ONCE):
            warnings.filterwarnings("always", message=message, category=UserWarning)
        tables = [table for device in devices for table in _tables_of(device, times_s, options)]
        targets = [target for table in tables for target in build_targets(table)]
    if not tables:
        raise InputError("expected at least one --device to evaluate on: a card's name, your own .toml, or a noise.")
    if options and not any(isinstance(target, CrossbarTarget) for target in targets):
        raise InputError(
            f"--set {next(iter(options))} is an option of crossbars, and {targets[0].name} is none; name a device, or "
            "leave --set out."
        )
    names = Counter(target.name for target in targets)
    duplicates = sorted(name for name, count in names.items() if count > 1)
    if duplicates:
        raise InputError(f'duplicate target {duplicates[0]}; name one of them: {{name = "...", device = ...}}.')
    return tables


def _tables_of(device: str, times_s: Sequence[float], options: dict[str, Any]) -> list[Any]:
    """Return the targets of one device: at each time if it changes with time; none for digital weights."""
    table = self_contained_target(_target_table(device, options), Path())
    target = deployable(build_target(table))
    if isinstance(target, DigitalTarget):  # always evaluated
        return []
    if not isinstance(target, CrossbarTarget) and "layers" in options:
        raise InputError(
            f"--layer places layers of devices with arrays, and {target.name} is none; name a device, or leave "
            "--layer out."
        )
    if not isinstance(target, CrossbarTarget) or not isinstance(table, dict):
        _warn_of_times(f"{target.name} does not change with time", times_s)
        return [table]
    if "time_s" in table:
        _warn_of_times(f"{target.name} has a time_s of its own", times_s)
        return [table]
    if not any(crossbar.device.cell.depends_on_time for crossbar in target.condition.crossbars):
        _warn_of_times(f"{target.name} has a card without drift", times_s)
        times_s = times_s[:1]
    suffixes = {time_s: f"-{time_label(time_s)}" if time_s else "" for time_s in times_s}
    return [{**table, "name": f"{target.name}{suffix}", "time_s": time_s} for time_s, suffix in suffixes.items()]


def _warn_of_times(reason: str, times_s: Sequence[float]) -> None:
    if len(times_s) > 1:
        left_out = ", ".join(map(time_label, times_s[1:]))
        warn(f"{reason}: it is evaluated once, not at {left_out} too.")


def _layer_places(texts: Sequence[str], options: dict[str, Any]) -> dict[str, Any]:
    """Return pattern -> `digital` or the table of a crossbar, after those that `options` have."""
    places = dict(options.get("layers", {}))
    own_options = {key: value for key, value in options.items() if key in LayerTable.model_fields}
    for text in texts:
        pattern, _, entry = (part.strip() for part in text.partition("="))
        if not pattern or not entry:
            raise InputError(f"--layer takes PATTERN=digital or PATTERN=DEVICE, got {short_repr(text)}.")
        if pattern == ALL:
            raise InputError(
                f"--layer {short_repr(text)} leaves no layer to --device; name fewer layers, or give that device as "
                "--device."
            )
        if pattern in places:
            raise InputError(f"--layer gives the pattern {pattern!r} twice.")
        places[pattern] = DIGITAL if entry == DIGITAL else _target_table(entry, own_options, option="--layer")
    return places


def _target_table(device: str, options: dict[str, Any], *, option: str = "--device") -> Any:
    if device.lstrip().startswith("{"):
        table = load_toml(f"target = {device}", source=f"{option} {short_repr(device)}")["target"]
        if not isinstance(table, dict):
            raise InputError(f"{option} {short_repr(device)} is not an inline TOML table.")
        return {**options, **table}
    if device.endswith(".toml") or device in [*card_names(), *preset_names()]:
        return {**options, "device": device}
    if is_reference(device):
        table = reference_table(device)
        return {**options, **table} if "device" in table else table
    return device


def deployable(target: Target) -> DeployableTarget:
    """Return the target. Raise InputError if only a comparison can evaluate it."""
    if not isinstance(target, DeployableTarget) or target.split != "test":
        raise InputError(
            f"the target {target.name} depends on the trained model or on training images, which only `compare` "
            "supports; use a device, or a noise of a given strength."
        )
    return target


def parse_times(text: str) -> list[float]:
    """Parse times such as 0,1h,1d,5d to seconds since programming, ascending, without duplicates.

    Raises:
        InputError: if the text is invalid.
    """
    times_s = []
    for part in text.split(","):
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?(?:e[0-9]+)?)\s*(s|min|h|d|y)?", part.strip())
        if match is None:
            raise InputError(
                f"times are numbers with s, min, h, d or y, such as 0,1h,1d,5d; got {short_repr(part.strip())}."
            )
        times_s.append(float(match[1]) * UNITS_S[match[2] or ""])
        require_time(times_s[-1])
    return sorted(set(times_s))
