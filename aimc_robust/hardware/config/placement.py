"""Which crossbar holds which layer: patterns over module names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from aimc_robust.devices.cell_model import CellModel
from aimc_robust.devices.library import DEVICE_ADVICE, card_names, preset_names
from aimc_robust.devices.limits import check_time
from aimc_robust.errors import InputError, UnknownNameError, require_type, short_repr, unknown_name
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.config.layer_patterns import ALL, contradicting, matches, uncovered, unmatched
from aimc_robust.hardware.config.presets import Preset, load_preset
from aimc_robust.hardware.config.short_text import layers_text
from aimc_robust.io.user_code import is_reference
from aimc_robust.noise.analog_weights import AnalogWeight, analog_weights, unwrap_model
from aimc_robust.noise.base import WeightNoise
from aimc_robust.noise.weight_shift import derived_weights
from aimc_robust.seeding import Axes

LayerPlace = Crossbar | Literal["digital"] | CellModel | str | Path | Mapping[str, Any]
"""Where layers are: `digital`, a crossbar, what `Crossbar` takes as a device, or a mapping of its arguments."""
Layers = Mapping[str, LayerPlace]
"""Pattern -> where the layers are that it matches."""

DIGITAL = "digital"


@dataclass(frozen=True, init=False)
class Placement(WeightNoise):
    """Which layer sits where: each on its own crossbar, or digital and exact. It can be used wherever a `Crossbar` can.

    A pattern in the manner of a shell (`*`, `?`, `[...]`) matches a layer if it matches its name, or the name of a
    module around it: `encoder.0` places all layers of that block. The first pattern that matches a layer decides. Names
    are those that `coverage` lists. Every layer with weights that a crossbar can hold needs a pattern; `*` covers the
    rest. The errors of a layer on a chip do not depend on where other layers are.

    Attributes:
        layers: Each pattern with its crossbar, None for digital, in their order.

    Args:
        layers: Pattern -> a `Crossbar`; "digital"; the name of a preset; a device as `Crossbar` takes it, such as the
            name of a card; or a mapping of `Crossbar`'s arguments.

    Raises:
        InputError: if there is no pattern, or none has a crossbar.
        UnknownNameError: if a device is unknown.

    Examples:
        >>> placement = Placement({"conv1": "digital", "*.head": Crossbar("sonos-agrawal2022"), "*": "rram-wan2022"})
        >>> placement.crossbar_of("model.head").device.cell.name
        'sonos-agrawal2022'
        >>> placement.crossbar_of("conv1") is None
        True
    """

    __str__ = layers_text
    layers: tuple[tuple[str, Crossbar | None], ...]

    accepts_axes: ClassVar[bool] = True

    def __init__(self, layers: Layers) -> None:
        require_type("layers", layers, Mapping, example='a mapping of patterns, such as {"conv1": "digital"}')
        for pattern in layers:
            if not isinstance(pattern, str) or not pattern:
                raise InputError(f"a pattern must be text such as 'conv1' or '*.head', got {short_repr(pattern)}.")
        self._set({pattern: _crossbar(pattern, place) for pattern, place in layers.items()})

    def _set(self, layers: Mapping[str, Crossbar | None]) -> None:
        if all(crossbar is None for crossbar in layers.values()):
            raise InputError("a placement needs a crossbar for some layers; pass None instead for digital weights.")
        object.__setattr__(self, "layers", tuple(layers.items()))

    def crossbar_of(self, layer: str) -> Crossbar | None:
        """Return the crossbar of a layer, or of a parameter of one; None if it is digital.

        Raises:
            InputError: if no pattern covers the layer.
        """
        for pattern, crossbar in self.layers:
            if matches(pattern, layer):
                return crossbar
        raise uncovered([layer])

    @property
    def crossbars(self) -> tuple[Crossbar, ...]:
        """The different crossbars, in the order of the patterns."""
        different: list[Crossbar] = []
        for _, crossbar in self.layers:
            if crossbar is not None and crossbar not in different:
                different.append(crossbar)
        return tuple(different)

    @property
    def text(self) -> str:
        """Each pattern with `digital` or the name of its device."""
        return ", ".join(f"{p} on {c.device.cell.name}" if c else f"{p} {DIGITAL}" for p, c in self.layers)

    @property
    def computes_in_arrays(self) -> bool:
        """Whether converters or read noise act on any crossbar."""
        return any(crossbar.computes_in_arrays for crossbar in self.crossbars)

    def map(self, change: Callable[[Crossbar], Crossbar]) -> Placement:
        """Return the same placement on changed crossbars."""
        placement = object.__new__(Placement)
        placement._set({pattern: crossbar and change(crossbar) for pattern, crossbar in self.layers})
        return placement

    def perturb(self, name: str, weight: Tensor, generator: torch.Generator | Axes) -> Tensor:
        """Return `weight` as its crossbar represents it right after programming; a digital one as it is."""
        crossbar = self.crossbar_of(name)
        return weight.clone() if crossbar is None else crossbar.perturb(name, weight, generator)

    def check_model(self, model: nn.Module) -> None:
        """Check the patterns against the layers of a model.

        Raises:
            UnknownNameError: if a pattern matches no layer.
            InputError: if no pattern covers a layer, if a pattern never decides because earlier ones place all of its
                layers elsewhere, or if layers that share a weight are not on the same crossbar.
        """
        model = unwrap_model(model)
        owners = {weight.layer: weight.array_owner for weight in analog_weights(model, include_shared=True).values()}
        owners |= {weight.layer: weight.layer for weight in derived_weights(model)}
        decided: dict[str, tuple[str, Crossbar | None]] = {}
        for pattern, crossbar in self.layers:
            matched = [layer for layer in owners if matches(pattern, layer)]
            if not matched:
                raise unmatched(pattern, list(owners))
            if all(layer in decided and decided[layer][1] != crossbar for layer in matched):
                raise contradicting(pattern, matched[0], decided[matched[0]][0])
            decided = dict.fromkeys(matched, (pattern, crossbar)) | decided
        if left := [layer for layer in owners if layer not in decided]:
            raise uncovered(left)
        for layer, owner in owners.items():
            if decided[layer][1] != decided[owner][1]:
                raise InputError(
                    f"the layers {owner!r} and {layer!r} share one weight, but are placed differently; devices store "
                    "it once, so place both by the same pattern."
                )


Hardware = Crossbar | Placement
"""What holds the layers of a model: one crossbar, or several and digital layers."""


def place(crossbar: Hardware, layers: Layers | None) -> Hardware:
    """Return a crossbar with some layers placed elsewhere, by patterns as in `Placement`.

    Raises:
        InputError: if the crossbar is a placement already, or an argument is invalid.
    """
    require_hardware(crossbar)
    if layers is None:
        return crossbar
    require_type("layers", layers, Mapping, example='a mapping of patterns, such as {"conv1": "digital"}')
    if isinstance(crossbar, Placement):
        raise InputError("the crossbar is a Placement, which has patterns already; leave out layers=.")
    if ALL in layers:
        raise InputError(
            f"layers has the pattern {ALL!r}, which leaves no layer to the crossbar; pass Placement(layers) in place "
            f"of the crossbar, or leave {ALL!r} out."
        )
    return Placement({**layers, ALL: crossbar})


def require_hardware(crossbar: object) -> None:
    """Raise InputError for what is neither a crossbar nor a placement."""
    refuse_names_and_presets(crossbar)
    require_type("crossbar", crossbar, Hardware, example="a Crossbar such as Crossbar('rram-wan2022'), or a Placement")


def refuse_names_and_presets(crossbar: object) -> None:
    """Raise InputError for a name of a device, or a preset, in place of a crossbar, with what to write."""
    if isinstance(crossbar, Preset):
        raise InputError(
            f"{crossbar.name} is a Preset, which holds more than a crossbar; pass its .crossbar, and its .deployment "
            "as deployment=."
        )
    if isinstance(crossbar, str):
        name = f"load_preset({crossbar!r}).crossbar" if crossbar in preset_names() else f"Crossbar({crossbar!r})"
        raise InputError(f"a crossbar is expected, got the text {short_repr(crossbar)}; write {name}.")


def check_condition(condition: object) -> None:
    """Raise InputError unless a model can be evaluated under `condition`: hardware, a weight noise, or None."""
    if condition is not None and not isinstance(condition, WeightNoise):
        refuse_names_and_presets(condition)
        raise InputError(f"expected a Crossbar, a weight noise or None to evaluate under, got {short_repr(condition)}.")


def check_time_of(hardware: Hardware, time_s: float) -> None:
    """Check a time against the limits of every device, see `check_time`.

    A device without drift is accepted at any time beside one that drifts.
    """
    drifting = [crossbar for crossbar in hardware.crossbars if crossbar.device.cell.depends_on_time]
    for crossbar in drifting or hardware.crossbars:
        device = crossbar.device
        check_time(device.cell, time_s, on_out_of_range=device.on_out_of_range)
        if time_s > 0:
            device.check_window(time_s=time_s)


def stored_weights(
    model: nn.Module, hardware: Hardware | None, *, include_shared: bool = False
) -> dict[str, AnalogWeight]:
    """Return the `analog_weights` of a model that a crossbar holds; None holds all of them."""
    weights = analog_weights(model, include_shared=include_shared)
    if hardware is None:
        return weights
    return {name: weight for name, weight in weights.items() if hardware.crossbar_of(weight.layer) is not None}


def _crossbar(pattern: str, place: object) -> Crossbar | None:
    if isinstance(place, str) and place == DIGITAL:
        return None
    if isinstance(place, Crossbar):
        return place
    if isinstance(place, Preset):
        raise InputError(f"the pattern {pattern!r} takes a crossbar, got the Preset {place.name}; pass its .crossbar.")
    if isinstance(place, str) and not (place.endswith(".toml") or is_reference(place)):
        if place in preset_names():
            return load_preset(place).crossbar
        known = [DIGITAL, *card_names(), *preset_names()]
        if place not in known:
            reason = unknown_name("device", place, known, advice=DEVICE_ADVICE)
            raise UnknownNameError(f"the pattern {pattern!r}: {reason}")
    if place is None or isinstance(place, WeightNoise):
        raise InputError(f"the pattern {pattern!r} takes {DIGITAL!r} or a crossbar, got {short_repr(place)}.")
    if isinstance(place, Mapping) and "device" in place:
        return Crossbar(**place)
    return Crossbar(place)  # type: ignore[arg-type]  # checked there
