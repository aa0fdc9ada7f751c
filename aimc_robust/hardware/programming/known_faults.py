"""The weights that a chip with known stuck devices represents, for training around them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from aimc_robust.errors import InputError, require_type
from aimc_robust.hardware.config.placement import Hardware
from aimc_robust.hardware.programming.known_states import check_names_and_shapes, has_fault_maps
from aimc_robust.hardware.programming.weights_to_states import faulty_weights
from aimc_robust.noise.analog_weights import Scope, unwrap_model
from aimc_robust.noise.base import WeightNoise
from aimc_robust.noise.perturbation import perturbed
from aimc_robust.seeding import Axes


def check_faults(crossbar: object, *, programs_weights: bool) -> None:
    """Raise InputError unless `crossbar` is None, or a crossbar or a placement with a fault map.

    `programs_weights`: whether a method programs a crossbar of its own, which then has the map.
    """
    if crossbar is None:
        return
    require_type("faults", crossbar, Hardware, example="a Crossbar with stuck=FaultMap(...)")
    assert isinstance(crossbar, Hardware)
    if not has_fault_maps(crossbar):
        raise InputError("faults must be a crossbar with known stuck devices: Crossbar(..., stuck=FaultMap(...)).")
    if programs_weights:
        raise InputError(
            "the method programs a crossbar, whose own stuck devices it sees; instead of `faults`, give that crossbar "
            "the fault map: stuck=FaultMap(...)."
        )


@contextmanager
def faulty(
    model: nn.Module,
    hardware: Hardware,
    *,
    gains: Mapping[str, Tensor] | None = None,
    scope: Scope = "weights",
    generator: torch.Generator | Axes | None = None,
    strength: float = 0.0,
) -> Iterator[nn.Module]:
    """Context manager in which `model` has the weights that the chip with the stuck devices of a crossbar represents.

    On exit the weights are restored bit for bit. Gradients in it are those of the represented weights, and reach the
    parameters unchanged (straight through).

    Args:
        model: The model.
        hardware: A crossbar with a fault map, or a placement; digital layers are not changed.
        gains: Layer -> factor of each output on the weights that are programmed, as folding a BatchNorm does; the
            represented weights are divided by it.
        scope: Parameters that are programmed.
        generator: Source of the errors of the devices that work, see `perturbed`.
        strength: Factor on these errors, 0 to 1; stuck devices act at any strength.

    Raises:
        UnknownNameError: if the map names a layer that the model does not have.
        InputError: if the map has another shape than the devices, or the crossbar has bias rows.
    """
    inner = unwrap_model(model)
    if any(crossbar.arrays.bias_rows for crossbar in hardware.crossbars):
        raise InputError("known stuck devices act on weights alone here; use bias_rows=0, or train with ArrayAware.")
    check_names_and_shapes(inner, hardware)
    noise = _FaultyChip(hardware, gains or {}, strength)
    with perturbed(model, noise, generator=generator or Axes(0), scope=scope, draw_on_device=True):
        yield model


@dataclass(frozen=True)
class _FaultyChip(WeightNoise):
    """The weights of a chip with known stuck devices; see `faulty`."""

    hardware: Hardware
    gains: Mapping[str, Tensor] = field(repr=False)
    strength: float

    accepts_axes: ClassVar[bool] = True

    def perturb(self, name: str, weight: Tensor, generator: torch.Generator | Axes) -> Tensor:
        """Return the weights that the chip represents."""
        crossbar = self.hardware.crossbar_of(name)
        if crossbar is None:
            return weight.clone()
        gain = self.gains.get(name)
        column = None if gain is None else gain.to(weight).reshape(-1, *[1] * (weight.ndim - 1))
        programmed = weight if column is None else weight * column
        matrix = programmed.flatten(1) if weight.ndim > 1 else programmed.reshape(1, -1)
        device, layout = crossbar.device, crossbar.weights
        with crossbar.naming_layer(name):
            chip = faulty_weights(device, layout, matrix, layer=name, checked=weight.is_cpu)
            chip = chip.reshape(weight.shape).to(weight.dtype)
        if self.strength > 0:
            chip = torch.lerp(chip, crossbar.perturb(name, programmed, generator), self.strength)
        return chip if column is None else chip / column
