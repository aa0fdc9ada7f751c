"""One weight matrix on one chip: read back as weights, or as the signed states that arrays multiply with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from aimc_robust.errors import InputError
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.config.weight_layout import all_finite
from aimc_robust.hardware.programming.banks import program_banks
from aimc_robust.hardware.programming.read_noise import ReadNoise
from aimc_robust.hardware.programming.weights_to_states import (
    LayerDraws,
    layer_draws,
    programmed_weights,
)
from aimc_robust.noise.analog_weights import AnalogWeight
from aimc_robust.seeding import Axes


@dataclass(frozen=True, kw_only=True)
class Chip:
    """A chip at one time, with its digital correction.

    Attributes:
        axes: Axes that identify the chip; every error derives from them and the name of its layer.
        time_s: Time since programming [s].
        cycle: Number of the programming; see `program`.
        drift_compensation: Whether the currents of each matrix are multiplied by one factor: their mean magnitude at
            time 0 over the present one, of the same chip (global drift compensation; V. Joshi et al., Nat. Commun. 11,
            2473, 2020).
        layers: Names of the layers whose arrays are programmed; all others compute exactly. None: all.
        checked: Whether weights, biases and states have to be finite, which waits for a GPU.
    """

    axes: Axes
    time_s: float = 0.0
    cycle: int = 0
    drift_compensation: bool = False
    layers: frozenset[str] | None = None
    checked: bool = True

    def holds(self, weight: AnalogWeight) -> bool:
        """Return whether a weight matrix is programmed."""
        return self.layers is None or weight.array_owner in self.layers

    @property
    def compensates(self) -> bool:
        """Whether a drift compensation is to be applied."""
        return self.drift_compensation and self.time_s > 0

    def axes_of(self, weight: AnalogWeight) -> Axes:
        """Return the axes of one weight matrix on this chip."""
        return self.axes.at(layer=weight.array_owner)

    def draws(self, weight: AnalogWeight) -> LayerDraws:
        """Return the random numbers of one weight matrix on this chip."""
        return layer_draws(self.axes_of(weight), cycle=self.cycle)


@dataclass(frozen=True, kw_only=True)
class ProgrammedMatrix:
    """State of a layer that computes in arrays, with R inputs and n bias rows; states in units of the window's maximum.

    Attributes:
        weight: Weights that the devices represent, (outputs, R).
        bias: Digital bias, or bias read back from its rows, (outputs,).
        scale: Weight at the end of the window, a scalar or (outputs, 1).
        factors: Factor of each bank of devices, see `WeightMapping.factors`.
        offset: Offset of the mapping, corrected for drift.
        banks: Signed states (outputs, R) of each bank if there is more than one.
        bias_rows: Signed states (outputs, n) of each bank.
        variances: Variances of read noise, (outputs, R + n) for each bank.
        noise: Random numbers of the noise of reads, or None.
        requires_grad: Whether the weight is trainable.
        periphery_axes: Axes from which the errors of the arrays' converters on this chip derive.
    """

    weight: Tensor
    bias: Tensor | None
    scale: Tensor
    factors: tuple[float, ...]
    offset: float
    banks: list[Tensor]
    bias_rows: list[Tensor]
    variances: list[Tensor]
    noise: ReadNoise | None
    requires_grad: bool
    periphery_axes: Axes

    def divided(self, gain: Tensor) -> ProgrammedMatrix:
        """Return the matrix whose weights are smaller by a factor of each output, from the same states."""
        column = gain.to(self.weight).unsqueeze(1)
        return replace(self, weight=self.weight / column, scale=self.scale / column)

    def weakened(self, exact: ProgrammedMatrix, strength: float) -> ProgrammedMatrix:
        """Return the matrix with errors scaled by `strength`, from 0: those of `exact`, to 1: its own."""

        def mix(starts: list[Tensor], ends: list[Tensor]) -> list[Tensor]:
            return [torch.lerp(start, end, strength) for start, end in zip(starts, ends, strict=True)]

        return replace(
            self,
            weight=torch.lerp(exact.weight, self.weight, strength),
            bias=None if exact.bias is None or self.bias is None else torch.lerp(exact.bias, self.bias, strength),
            scale=torch.lerp(exact.scale, self.scale, strength),
            offset=exact.offset + strength * (self.offset - exact.offset),
            banks=mix(exact.banks, self.banks),
            bias_rows=mix(exact.bias_rows, self.bias_rows),
            variances=[variance * strength**2 for variance in self.variances],
        )


def with_bias_rows(crossbar: Crossbar, weight: AnalogWeight, *, checked: bool = True) -> Tensor:
    """Append bias rows to a weight matrix, each with 1/n of the bias; raise InputError if the bias is not finite."""
    matrix = weight.filters_first().flatten(1)
    if checked and weight.bias is not None and not torch.isfinite(weight.bias).all():
        raise InputError(f"the bias of the layer {weight.layer!r} holds NaN or infinity.")
    if not crossbar.arrays.bias_rows or weight.bias is None:
        return matrix
    rows = (weight.bias / crossbar.arrays.bias_rows).unsqueeze(1).expand(-1, crossbar.arrays.bias_rows)
    return torch.cat([matrix, rows], dim=1)


def read_back_on_chips(
    crossbar: Crossbar, weight: AnalogWeight, matrix: Tensor, chips: Sequence[Chip], *, time_s: float = 0.0
) -> Tensor:
    """Return `matrix` of a weight as chips that differ in their axes represent it at a time, (chips, *matrix.shape)."""
    chip = chips[0]
    if crossbar.wires is not None:
        options: dict[str, Any] = {"time_s": time_s, "with_variances": False, "checked": chip.checked}
        arrays = [program_banks(crossbar, weight, matrix, each.draws(weight), **options) for each in chips]
        return torch.stack([each.currents.add_(crossbar.factors[1]).mul_(each.limit) for each in arrays])
    return programmed_weights(
        crossbar.device,
        crossbar.weights,
        matrix,
        [each.axes_of(weight) for each in chips],
        time_s=time_s,
        cycle=chip.cycle,
        layer=weight.array_owner,
        checked=chip.checked,
    )


def check_states(crossbar: Crossbar, weight: AnalogWeight, chip: Chip, *values: Tensor) -> None:
    """Raise InputError if what was programmed is NaN or infinite, which a card with extreme numbers can cause."""
    for tensor in values if chip.checked else ():
        if not all_finite(tensor):
            raise InputError(
                f"{crossbar.device.cell.name}: at time_s = {chip.time_s:g} s the layer {weight.layer!r} has NaN or "
                "infinite states; check the numbers of the device's programming error, drift and read noise."
            )


def zero_weight(crossbar: Crossbar, limit: Tensor) -> Tensor:
    """Compute the weight of a column without current: 0 for pairs, the lowest weight for the offset mapping."""
    return crossbar.factors[1] * limit


def compensation(fresh: Tensor, currents: Tensor, zero: Tensor) -> Tensor:
    """Factor of global drift compensation, for the currents of the drifted columns in units of the weight.

    It is 1 if a mean is 0, which leaves nothing to measure it from.
    """
    before, now = (fresh - zero).abs().mean(), currents.abs().mean()
    if currents.is_cpu:
        limits = torch.finfo(currents.dtype)
        if not limits.tiny <= float(now) <= limits.max or not limits.tiny <= float(before) <= limits.max:
            before, now = (fresh.double() - zero).abs().mean(), currents.double().abs().mean()
    elif currents.device.type != "mps":  # which has no float64; others need not wait to see whether it is needed
        before, now = (fresh.double() - zero).abs().mean(), currents.double().abs().mean()
    return torch.where((before > 0) & (now > 0), before / now, 1.0).to(currents.dtype)


def program_arrays(crossbar: Crossbar, weight: AnalogWeight, chip: Chip) -> ProgrammedMatrix:
    """Program one weight matrix onto arrays."""
    matrix = with_bias_rows(crossbar, weight, checked=chip.checked)
    banks, variances, currents, limit = program_banks(
        crossbar, weight, matrix, chip.draws(weight), time_s=chip.time_s, checked=chip.checked
    )
    factors, offset = crossbar.factors
    scale = limit
    if chip.compensates:
        zero = zero_weight(crossbar, limit)
        fresh = read_back_on_chips(crossbar, weight, matrix, [chip])[0]
        alpha = compensation(fresh, currents * limit, zero)
        scale = limit * alpha
        offset = offset / float(alpha) if offset else offset  # the currents are corrected, not the offset
    now = (currents + offset) * scale
    check_states(crossbar, weight, chip, now, *variances)
    inputs = weight.filters_first()[0].numel()
    has_rows = now.shape[1] > inputs
    bias = None if weight.bias is None else weight.bias.to(now.dtype).clone()
    return ProgrammedMatrix(
        weight=now[:, :inputs].contiguous(),
        bias=now[:, inputs:].sum(dim=1) if has_rows else bias,
        scale=scale,
        factors=factors,
        offset=offset,
        banks=[states[:, :inputs].contiguous() for states in banks] if len(banks) > 1 else [],
        bias_rows=[states[:, inputs:].contiguous() for states in banks] if has_rows else [],
        variances=variances,
        noise=ReadNoise(chip.axes.at(layer=weight.layer, effect="read"))
        if variances or crossbar.periphery.has_noise
        else None,
        requires_grad=weight.parameter.requires_grad,
        periphery_axes=chip.axes.at(layer=weight.array_owner, effect="periphery"),
    )
