"""A layer computed in arrays: DAC, multiply in each array, read noise, ADC, digital sum."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor
from torch.nn import functional as F

from aimc_robust.errors import InputError
from aimc_robust.hardware.config.converters import input_slices
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.config.tiling import partition
from aimc_robust.hardware.layers.input_stage import InputStage, RowInputs
from aimc_robust.hardware.programming.programmed_matrix import ProgrammedMatrix

# Images are worked on a few at a time, so that what is kept between the steps stays small and near the processor.
VALUES_AT_ONCE = 2**20


class ArrayLayer(InputStage):
    """One weight matrix on its arrays; a subclass says how inputs meet it.

    y = scale * (sum over banks of factor * (sum over arrays of ADC(sum_j g_j DAC(x)_j + read noise)) + offset *
    sum_j DAC(x)_j) + bias, with the signed states g in units of the window's maximum. The ADC acts on the current of
    each array by itself; what follows is digital.

    Gradients pass straight through the converters to `weight` and `bias`.
    """

    groups = 1
    outputs_last = False  # whether outputs are the last dimension, as in a linear layer, or dimension 1

    def __init__(self, name: str, crossbar: Crossbar, matrix: ProgrammedMatrix, shape: torch.Size) -> None:
        super().__init__(name, crossbar, matrix, shape)
        self.noise = matrix.noise
        self.tiles = partition(self.rows + self.extra_rows, crossbar.rows)

    @abstractmethod
    def check(self, x: Tensor) -> Tensor:
        """`x` with a batch dimension. Raises InputError when it does not fit the layer."""

    @abstractmethod
    def contract(self, x: Tensor, weight: Tensor, first: int, last: int) -> Tensor:
        """The products of input channels [first, last) of each group, summed over them: a fresh tensor."""

    def forward(self, input: Tensor) -> Tensor:
        """The layer's output, in the input's dtype. Arrays compute in float32 at least, also under autocast."""
        if not input.is_floating_point():
            raise InputError(f"the layer {self.name!r} takes floating-point inputs, got {input.dtype}.")
        x = self.check(input)
        with torch.autocast(x.device.type, enabled=False):
            parts = [self._outputs(part) for part in x.split(self._images_at_once(x))]
            out = (parts[0] if len(parts) == 1 else torch.cat(parts)).to(x.dtype)
        return out if out.ndim == input.ndim else out.squeeze(0)

    def _images_at_once(self, x: Tensor) -> int:
        """Images whose inputs and outputs are about VALUES_AT_ONCE numbers."""
        if x.ndim < 2 or len(x) == 0:
            return max(len(x), 1)
        per_image = x[0].numel() * max(1.0, self.shape[0] / self.shape[1] / self.groups)
        return max(1, int(VALUES_AT_ONCE / per_image))

    def _outputs(self, x: Tensor) -> Tensor:
        return self._with_bias(self._array_outputs(x.to(self.precision)))

    def _array_outputs(self, x: Tensor) -> Tensor:
        driven = self.converted(x)
        out: Tensor | None = None
        for bank, factor in enumerate(self.factors):
            matrix = self.signed_states(bank)
            for tile in range(len(self.tiles)):
                current = self._read(driven, matrix, bank, tile)
                out = current.mul_(factor) if out is None else out.add_(current, alpha=factor)
        assert out is not None
        if self.offset:
            ones = torch.ones_like(matrix[: self.groups])  # one sum for all outputs of a group
            sums = self._products(driven, ones, 0, ones.shape[1])
            if self.groups > 1:
                sums = sums.repeat_interleave(self.shape[0] // self.groups, dim=1)
            out = out.add_(sums, alpha=self.offset)
        scale = self.scale.to(self.precision)
        return out.mul_(scale if scale.ndim == 0 else self._along_outputs(scale.flatten(), out))

    def _with_bias(self, out: Tensor) -> Tensor:
        if self.bias is None:
            return out
        if not self.extra_rows:
            return out.add_(self._along_outputs(self.bias, out))
        # Its rows are part of the arrays' sum already; only its gradient, and what it was changed by, is missing.
        programmed = self.programmed_bias()
        return out.add_(self._along_outputs(self.bias - programmed, out))

    # One array --------------------------------------------------------------------------------------------------

    def _read(self, driven: RowInputs, matrix: Tensor, bank: int, tile: int) -> Tensor:
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
    def _read_sliced(self, driven: RowInputs, matrix: Tensor, bank: int, tile: int) -> Tensor:
        dac, adc, kind = self.crossbar.dac, self.crossbar.adc, self.dac_kind
        per_slice = adc is not None and adc.per_slice
        parts, factor = input_slices(driven.x, self.full_scale, kind, dac.bits, dac.slice_bits)
        ones, _ = input_slices(driven.one, self.full_scale, kind, dac.bits, dac.slice_bits)
        total: Tensor | None = None
        for number, (x, one) in enumerate(zip(parts, ones, strict=True)):
            part = RowInputs(x, one) if self.noise is None else RowInputs(x, one).with_squares()
            current = self._current(part, matrix, bank, tile, input_slice=number)
            if per_slice:
                current = self._digital(current, bank, tile, unit=1.0)
            total = (current if total is None else total.add_(current)).mul_(2.0**-dac.slice_bits)
        total = total.mul_(factor)
        if not per_slice:
            total = self._digital(total, bank, tile, unit=1.0)
        return total.mul_(self.full_scale)

    def _current(self, driven: RowInputs, matrix: Tensor, bank: int, tile: int, *, input_slice: int = 0) -> Tensor:
        """Column currents of one array, with read noise."""
        start, stop = self.tiles[tile]
        current = self._products(driven, matrix, start, stop)
        if self.noise is not None:
            with torch.no_grad():
                variance = self._products(driven.squares, getattr(self, f"variances_{bank}"), start, stop)
                # Sums of what is not negative; only a GPU's fast convolutions may end below 0.
                spread = (variance if variance.device.type == "cpu" else variance.clamp_(min=0.0)).sqrt_()
                noise = self.noise.draw(spread, (bank, tile, input_slice), outputs_last=self.outputs_last)
            current = current.addcmul_(spread, noise)
        return current

    def _products(self, driven: RowInputs, matrix: Tensor, start: int, stop: int) -> Tensor:
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
            return self.output_ranges()[bank]
        start, stop = self.tiles[tile]
        most = float(stop - start)
        one_direction = len(self.crossbar.mapping_object.signs) == 1 and self.dac_kind == "unsigned"
        return (0.0 if one_direction else -most), most

    def _along_outputs(self, values: Tensor, like: Tensor) -> Tensor:
        """One value per output, broadcastable to an output tensor."""
        return values if self.outputs_last else values.reshape(-1, *[1] * (like.ndim - 2))
