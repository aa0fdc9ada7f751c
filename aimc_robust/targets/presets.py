"""Presets in specs and on the command line: a table that names one is the table that it stands for."""

from __future__ import annotations

from typing import Any

from aimc_robust.devices.library import preset_names
from aimc_robust.errors import InputError
from aimc_robust.hardware.config.presets import crossbar_options, read_preset
from aimc_robust.targets.target import time_label

NOT_OF_CROSSBARS = (
    "name",
    "time_s",
    "backend",
    "compensation",
    "fold",
    "layers",
    "split",
    "selected_at",
    "code_digests",
)


def expand_preset(table: Any, *, deployed: bool = True) -> Any:
    """Return the table of a crossbar with the keys of its preset; anything else is returned as it is.

    A preset is named as the device, or as `preset` beside another device. Keys of the table replace those of the
    preset.

    Args:
        table: A table, or a name.
        deployed: Whether to add how the preset is deployed, and its name: in targets, but not in methods.

    Raises:
        UnknownNameError: if there is no such preset.
        InputError: if the preset counts on effects that another device lacks.
    """
    if isinstance(table, str) and table in preset_names():
        table = {"device": table}
    if not isinstance(table, dict):
        return table
    own = dict(table)
    device = own.get("device")
    if isinstance(device, str) and device in preset_names():
        if "preset" in own:
            raise InputError(
                f"`preset` and `device` both name presets: {own['preset']} and {device}; keep one of them."
            )
        name = own.pop("device")
    elif "preset" in own:
        name = own.pop("preset")
        if device is None:
            raise InputError(f'the preset is the device: write device = "{name}", or add another device.')
    else:
        return table
    preset = read_preset(name)
    rest = {key: own.pop(key) for key in NOT_OF_CROSSBARS if key in own}
    options = crossbar_options(preset, own)
    if not deployed:
        return rest | options
    time_s = rest.get("time_s")
    label = f"-{time_label(time_s)}" if isinstance(time_s, int | float) and time_s > 0 else ""
    return {"name": f"{preset.name}{label}", **options, **preset.deployment, **rest}
