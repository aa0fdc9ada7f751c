"""A layer computed in arrays: DAC, multiply in each array, read noise, ADC, digital sum."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from aimc_robust.errors import InputError
from aimc_robust.hardware.converters import input_levels, input_slices, quantised
from aimc_robust.hardware.crossbar import Crossbar
from aimc_robust.hardware.matrix import ProgrammedMatrix
from aimc_robust.hardware.partition import partition
from aimc_robust.hardware.ranges import LayerRanges
from aimc_robust.hardware.stored_matrix import StoredMatrix

Observer = Callable[[str, int, Tensor], None]
"""Told of ("input", 0, inputs), ("input", 1, that of bias rows) and ("current", bank, column currents before the ADC),
for calibration."""


class Driven(NamedTuple):
    """What drives the rows: `x`, the layer's inputs; `one`, the input of bias rows."""

    x: Tensor
    one: Tensor


class ArrayLayer(StoredMatrix):
    """One weight matrix on its arrays; a subclass says how inputs meet it.

    y = scale * (sum over banks of factor * (sum over arrays of ADC(sum_j g_j DAC(x)_j + read noise)) + offset *
    sum_j DAC(x)_j) + bias, with the signed states g in units of the window's maximum. The ADC acts on the current of
    each array by itself; what follows is digital.

    Gradients pass straight through the converters to `weight` and `bias`.
    """

    outputs_last = False  # whether outputs are the last dimension, as in a linear layer, or dimension 1

    def __init__(self, name: str, crossbar: Crossbar, matrix: ProgrammedMatrix, shape: torch.Size) -> None:
        super().__init__(crossbar, matrix, shape)
        self.name, self.noise = name, matrix.noise
        self.tiles = partition(self.rows + self.extra_rows, crossbar.rows)
        self.observer: Observer | None = None

    @abstractmethod
    def drive(self, x: Tensor) -> Tensor:
        """What the rows are driven with before the DAC, such as x padded. May be x itself."""

    @abstractmethod
    def contract(self, x: Tensor, weight: Tensor, first: int, last: int) -> Tensor:
        """The products of input channels [first, last) of each group, summed over them: a fresh tensor."""

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output, in x's dtype. Arrays compute in the weight's precision, also under autocast."""
        with torch.autocast(x.device.type, enabled=False):
            return self._with_bias(self._outputs(x.to(self.weight.dtype))).to(x.dtype)

    def _outputs(self, x: Tensor) -> Tensor:
        driven = self._convert(x)
        out: Tensor | None = None
        for bank, factor in enumerate(self.factors):
            matrix = self.signed_states(bank)
            for tile in range(len(self.tiles)):
                current = self._read(driven, matrix, bank, tile)
                out = current.mul_(factor) if out is None else out.add_(current, alpha=factor)
        assert out is not None
        if self.offset:
            ones = torch.ones_like(matrix)
            out = out.add_(self._products(driven, ones, 0, ones.shape[1]), alpha=self.offset)
        return out.mul_(self.scale if self.scale.ndim == 0 else self._along_outputs(self.scale.flatten(), out))

    def _with_bias(self, out: Tensor) -> Tensor:
        if self.bias is None:
            return out
        if not self.extra_rows:
            return out.add_(self._along_outputs(self.bias, out))
        # Its rows are part of the arrays' sum already; only its gradient, and what it was changed by, is missing.
        programmed = self.programmed_bias()
        return out.add_(self._along_outputs(self.bias - programmed, out))

    # Inputs -----------------------------------------------------------------------------------------------------

    @property
    def ranges(self) -> LayerRanges | None:
        """This layer's calibrated ranges. Raises InputError when they are needed and missing."""
        found = (self.crossbar.ranges or {}).get(self.name)
        if found is None and self.crossbar.needs_ranges and self.observer is None:
            raise InputError(
                f"no converter ranges for the layer {self.name!r}; program with the crossbar that "
                "`calibrate(model, crossbar, batches)` returns, or give the DAC a kind and full_scale, the ADC a range."
            )
        return found

    @property
    def full_scale(self) -> float:
        """The input that the DAC applies at full scale, in units of the layer's input."""
        dac = self.crossbar.dac
        if dac is not None and dac.full_scale is not None:
            return dac.full_scale
        return 1.0 if self.ranges is None else self.ranges.full_scale

    @property
    def dac_kind(self) -> str:
        """The DAC's kind, `auto` resolved by this layer's calibrated inputs."""
        dac = self.crossbar.dac
        if dac is None:
            return "ideal"
        if dac.kind != "auto":
            return dac.kind
        return "sign-magnitude" if self.ranges is None or self.ranges.signed else "unsigned"

    def _convert(self, x: Tensor) -> Driven:
        driven, one = self.drive(x), x.new_ones(())
        if self.observer is not None:
            self.observer("input", 0, driven)
            if self.extra_rows:
                self.observer("input", 1, one)
        if self.dac_kind == "ideal" or (self.observer is not None and self.ranges is None):
            return Driven(driven, one)
        if self.extra_rows and self.full_scale < 1:
            raise InputError(
                f"the layer {self.name!r} has bias rows, which are driven by 1, above the DAC's full scale of "
                f"{self.full_scale:g}: their bias would be clipped. Use a full_scale of at least 1, or bias_rows=0."
            )
        low, steps = input_levels(self.dac_kind, self.crossbar.dac.bits)
        low, high = low * self.full_scale, self.full_scale
        fresh = driven.data_ptr() != x.data_ptr()  # the caller's tensor stays as it is
        return Driven(quantised(driven, low, high, steps, overwrite=fresh), quantised(one, low, high, steps))

    # One array --------------------------------------------------------------------------------------------------

    def _read(self, driven: Driven, matrix: Tensor, bank: int, tile: int) -> Tensor:
        """What one array gives to the digital sum: its current in units of one device times the layer's input."""
        dac = self.crossbar.dac
        if dac is None or not dac.slice_bits or (self.observer is not None and self.ranges is None):
            return self._digital(self._current(driven, matrix, bank, tile), bank, tile, unit=self.full_scale)
        result = self._read_sliced(driven, matrix, bank, tile)
        if torch.is_grad_enabled() and (driven.x.requires_grad or matrix.requires_grad):
            whole = self._products(driven, matrix, *self.tiles[tile])
            return whole + (result - whole.detach())  # the gradient of the unsliced product
        return result

    @torch.no_grad()
    def _read_sliced(self, driven: Driven, matrix: Tensor, bank: int, tile: int) -> Tensor:
        dac, adc, kind = self.crossbar.dac, self.crossbar.adc, self.dac_kind
        per_slice = adc is not None and adc.per_slice
        parts, factor = input_slices(driven.x, self.full_scale, kind, dac.bits, dac.slice_bits)
        ones, _ = input_slices(driven.one, self.full_scale, kind, dac.bits, dac.slice_bits)
        total: Tensor | None = None
        for x, one in zip(parts, ones, strict=True):
            current = self._current(Driven(x, one), matrix, bank, tile)
            if per_slice:
                current = self._digital(current, bank, tile, unit=1.0)
            total = (current if total is None else total.add_(current)).mul_(2.0**-dac.slice_bits)
        total = total.mul_(factor)
        if not per_slice:
            total = self._digital(total, bank, tile, unit=1.0)
        return total.mul_(self.full_scale)

    def _current(self, driven: Driven, matrix: Tensor, bank: int, tile: int) -> Tensor:
        """Column currents of one array, with read noise."""
        start, stop = self.tiles[tile]
        current = self._products(driven, matrix, start, stop)
        if self.noise is not None:
            with torch.no_grad():
                squared = Driven(driven.x.square(), driven.one.square())
                variance = self._products(squared, getattr(self, f"variances_{bank}"), start, stop)
                spread = variance.clamp_(min=0.0).sqrt_()
                noise = spread.mul_(self.noise.draw(spread, (bank, tile), outputs_last=self.outputs_last))
            current = current.add_(noise)
        return current

    def _products(self, driven: Driven, matrix: Tensor, start: int, stop: int) -> Tensor:
        """Rows [start, stop) of matrix (outputs, inputs and bias rows) times what drives them."""
        kernel, last = self.rows // self.shape[1], min(stop, self.rows)
        if start < self.rows:
            first_channel, last_channel = start // kernel, -(-last // kernel)
            # Where an array's edge runs through a channel's kernel, the part outside is zero: no device, no current.
            part = F.pad(matrix[:, start:last], (start - first_channel * kernel, last_channel * kernel - last))
        else:  # an array of bias rows alone
            first_channel, last_channel = 0, 1
            part = torch.zeros_like(matrix[:, :kernel])
        weight = part.reshape(-1, last_channel - first_channel, *self.shape[2:])
        out = self.contract(driven.x, weight, first_channel, last_channel)
        if stop <= self.rows:
            return out
        biases = matrix[:, max(start, self.rows) : stop].sum(dim=1) * driven.one
        return out.add_(self._along_outputs(biases, out))

    def _digital(self, current: Tensor, bank: int, tile: int, *, unit: float) -> Tensor:
        adc = self.crossbar.adc
        if self.observer is not None:
            self.observer("current", bank, current / unit)
            return current
        if adc is None:
            return current
        low, high = self._output_range(bank, tile)
        return adc.convert(current, low * unit, high * unit)

    def _output_range(self, bank: int, tile: int) -> tuple[float, float]:
        option = self.crossbar.adc.range
        if not isinstance(option, str):
            return option
        if option == "calibrated":
            return self.ranges.outputs[bank]
        start, stop = self.tiles[tile]
        most = float(stop - start)
        one_direction = len(self.crossbar.mapped.signs) == 1 and self.dac_kind == "unsigned"
        return (0.0 if one_direction else -most), most

    def _along_outputs(self, values: Tensor, like: Tensor) -> Tensor:
        """One value per output, broadcastable to an output tensor."""
        return values if self.outputs_last else values.reshape(-1, *[1] * (like.ndim - 2))
