"""Targets as a command line names them: devices, times, crossbar options."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aimc_robust.devices.library import card_names
from aimc_robust.errors import InputError, short_repr
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.io.toml_values import load_toml
from aimc_robust.io.user_code import is_reference
from aimc_robust.targets.build import build_target, build_targets, self_contained_target
from aimc_robust.targets.entries import reference_table
from aimc_robust.targets.target import CrossbarTarget, DeployableTarget, DigitalTarget, Target
from aimc_robust.targets.times import time_label


def target_tables(devices: Sequence[str], times_s: Sequence[float], options: dict[str, Any]) -> list[Any]:
    """Return the targets of an evaluation spec: each device at each time, with its card embedded, and each noise.

    A device that does not change with time is evaluated at the first time only.

    Args:
        devices: Names of cards, paths of cards, import paths `package.module:name` of cell models or noises, names of
            noises such as gaussian-0.05, or inline TOML tables such as
            {name = "small", device = "sonos-agrawal2022", rows = 64}.
        times_s: Seconds since programming.
        options: Keys of a target table, for all devices.

    Raises:
        InputError: if an argument is invalid. Warnings about limits of a device appear when it is evaluated.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return _target_tables(devices, times_s, options)


def _target_tables(devices: Sequence[str], times_s: Sequence[float], options: dict[str, Any]) -> list[Any]:
    tables: list[Any] = []
    for device in devices:
        table = self_contained_target(_target_table(device, options), Path())
        target = deployable(build_target(table))
        if isinstance(target, CrossbarTarget) and isinstance(table, dict) and "time_s" not in table:
            tables += _tables_over_times(table, target.name, target.crossbar, times_s)
        elif not isinstance(target, DigitalTarget):  # digital weights are always evaluated
            tables.append(table)
    if not tables:
        raise InputError("expected at least one --device to evaluate on: a card's name, your own .toml, or a noise.")
    names = Counter(target.name for table in tables for target in build_targets(table))
    duplicates = sorted(name for name, count in names.items() if count > 1)
    if duplicates:
        raise InputError(f'duplicate target {duplicates[0]}; name one of them: {{name = "...", device = ...}}.')
    return tables


def _target_table(device: str, options: dict[str, Any]) -> Any:
    if device.lstrip().startswith("{"):
        return {**options, **_parse_inline_table(device)}
    if device.endswith(".toml") or device in card_names():
        return {**options, "device": device}
    if is_reference(device):
        table = reference_table(device)
        return {**options, **table} if "device" in table else table
    return device


def deployable(target: Target) -> DeployableTarget:
    """Return the target, if trained weights can be evaluated under it.

    Args:
        target: The target.

    Raises:
        InputError: if only a comparison can evaluate it.
    """
    if not isinstance(target, DeployableTarget) or target.split != "test":
        raise InputError(
            f"the target {target.name} has a radius or training images, which only `compare` supports; use a device, "
            "or a noise of a given strength."
        )
    return target


def _tables_over_times(
    table: dict[str, Any], name: str, crossbar: Crossbar, times_s: Sequence[float]
) -> list[dict[str, Any]]:
    return [
        {**table, "name": name + (f"-{time_label(time_s)}" if time_s else ""), "time_s": time_s}
        for time_s in (times_s if crossbar.device.cell.depends_on_time else times_s[:1])
    ]


def _parse_inline_table(text: str) -> dict[str, Any]:
    """Parse {name = "small", device = "sonos-agrawal2022", rows = 64}."""
    table = load_toml(f"target = {text}", source=f"--device {short_repr(text)}")["target"]
    if not isinstance(table, dict):
        raise InputError(f"--device {short_repr(text)} is not an inline TOML table.")
    return table
