"""Presets: published settings of whole crossbars, one TOML file each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pydantic

from aimc_robust.devices.cell_model import Source
from aimc_robust.devices.library import load_cell_model, preset_names, presets_folder
from aimc_robust.errors import InputError, require_known
from aimc_robust.hardware.config.converters import ADC, DAC
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.config.deployment import Deployment
from aimc_robust.hardware.config.short_text import preset_text
from aimc_robust.io.toml import StrictModel, read_toml


class PresetNeeds(StrictModel):
    """Effects of the device that a setting counts on."""

    drift: bool = False
    read_noise: bool = False


class PresetFile(StrictModel):
    """The file of a preset.

    Attributes:
        name: Its name, that of the file.
        summary: One line.
        source: Where the values come from, and what is left out.
        crossbar: Keyword arguments of `Crossbar`, with `dac` and `adc` as tables.
        deployment: Keyword arguments of `Deployment`.
        needs: Effects that a device must have.
        method: Keys of the method `array-aware` in a spec that the source trains with.
        training: Keys of a spec's `training`.
    """

    name: str
    summary: str
    source: Source
    crossbar: dict[str, Any]
    deployment: dict[str, Any] = pydantic.Field(default_factory=dict)
    needs: PresetNeeds = PresetNeeds()
    method: dict[str, Any] = pydantic.Field(default_factory=dict)
    training: dict[str, Any] = pydantic.Field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A published setting of a crossbar, with how models are deployed and trained in it.

    Attributes:
        name: Its name.
        summary: One line.
        source: Where the values come from, and what is left out.
        crossbar: The crossbar.
        deployment: How a model is deployed; without converter ranges.
        method: Keys of the method `array-aware` in a spec that the source trains with.
        training: Keys of a spec's `training` that the source trains with.
    """

    __str__ = preset_text
    name: str
    summary: str = field(repr=False)
    source: Source = field(repr=False)
    crossbar: Crossbar = field(repr=False)
    deployment: Deployment = field(repr=False)
    method: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)
    training: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)


def load_preset(name: str, **options: Any) -> Preset:
    """Load a preset of the library.

    Args:
        name: Its name, see `aimc-robust presets`.
        **options: Keyword arguments of `Crossbar` in place of the preset's. With another `device`, the window and the
            stuck cells are the device's own.

    Raises:
        UnknownNameError: if there is no preset, or no option, of this name.
        InputError: if an option is invalid, or the preset counts on drift or read noise that the device lacks.

    Examples:
        >>> preset = load_preset("rasch2023")
        >>> preset.crossbar.arrays.rows, preset.deployment.compensation
        (512, ('drift',))
    """
    preset = read_preset(name)
    arguments = crossbar_options(preset, options)
    for key, kind in (("dac", DAC), ("adc", ADC)):
        if isinstance(arguments.get(key), dict):
            arguments[key] = kind(**arguments[key])
    return Preset(
        name=preset.name,
        summary=preset.summary,
        source=preset.source,
        crossbar=Crossbar(**arguments),
        deployment=Deployment(**preset.deployment),
        method=preset.method,
        training=preset.training,
    )


def read_preset(name: str) -> PresetFile:
    """Read the file of a preset; raise UnknownNameError if there is none of this name."""
    require_known("preset", name, preset_names())
    return read_toml(presets_folder() / f"{name}.toml", PresetFile, kind="preset")


def crossbar_options(preset: PresetFile, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keyword arguments of `Crossbar` of a preset, with `options` in place of its own.

    Raises:
        InputError: if the preset counts on drift or read noise that a device among the options lacks, unless they are
            switched off there (`drift` or `read_noise` false).
    """
    own = dict(preset.crossbar)
    if "device" in options:
        cell = load_cell_model(options["device"])
        lacking = {"drift": not cell.has_drift, "read_noise": not cell.has_read_noise}
        for effect, lacks in lacking.items():
            if getattr(preset.needs, effect) and lacks and options.get(effect) is not False:
                raise InputError(
                    f"the preset {preset.name} counts on the {effect.replace('_', ' ')} of its device, which "
                    f"{cell.name} does not have; use another device, or set {effect} to false."
                )
        own.pop("window", None)
        own.pop("stuck", None)
    return own | dict(options)
