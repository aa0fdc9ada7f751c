"""A layer computed in arrays: DAC, multiplication in each array, noise, ADC, digital sum."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from aimc_robust.errors import InputError
from aimc_robust.float32_convolutions import float32_convolutions
from aimc_robust.hardware.config.converters import DAC
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.config.quantization import Levels, input_slices
from aimc_robust.hardware.config.ranges import LayerRanges
from aimc_robust.hardware.config.tiling import partition
from aimc_robust.hardware.layers.bypass_guard import GuardedWeight, bypassed
from aimc_robust.hardware.layers.in_chunks import in_chunks
from aimc_robust.hardware.layers.input_stage import RowInputs
from aimc_robust.hardware.layers.output_stage import OutputStage
from aimc_robust.hardware.programming.programmed_matrix import ProgrammedMatrix
from aimc_robust.hardware.programming.read_noise import (
    reject_forward_mode,
    reject_tracing,
    reject_vmap,
    to_variance_type,
)

# Images are processed in chunks, so that intermediate results stay small: on a CPU in its cache.
VALUES_PER_CHUNK = 2**21
VALUES_ON_ACCELERATOR = 2**25  # 128 MiB: smaller ones would leave a GPU idle
CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


class ArrayLayer(OutputStage):
    """One weight matrix in its arrays; a subclass defines how inputs are applied to it.

    y = scale * (sum over banks of factor * (sum over arrays of ADC(sum_j g_j DAC(x)_j + noise)) + offset * sum_j
    DAC(x)_j) + bias, with the signed states g in units of the window's maximum. The noise is that of devices, DACs and
    the array's outputs. The ADC converts the current of each array separately; everything after it is
    digital.

    Gradients pass straight through the converters to `weight` and `bias`.

    Attributes:
        step: Time step of a recurrent layer, which has read noise of its own; empty: none.
        find_ranges: Finds the converter ranges anew from each batch of inputs, in training; None: they are given.
    """

    step: tuple[int, ...] = ()
    _stream: tuple[int | str, ...] = ()
    find_ranges: Callable[[ArrayLayer, Tensor], LayerRanges] | None = None

    def __init__(self, name: str, crossbar: Crossbar, matrix: ProgrammedMatrix, shape: torch.Size) -> None:
        super().__init__(name, crossbar, matrix, shape)
        self.noise, self._periphery_axes = matrix.noise, matrix.periphery_axes
        self.tiles = partition(self.input_rows + self.bias_rows, crossbar.arrays.rows)

    @abstractmethod
    def check_input(self, x: Tensor) -> Tensor:
        """Return `x` with a batch dimension; raise InputError if its shape does not match the layer."""

    def forward(self, input: Tensor) -> Tensor:
        """Compute the layer's output in the dtype of the input; arrays compute in float32 at least.

        Raises:
            InputError: if the input does not match the layer, or converter ranges are missing.
        """
        if not input.is_floating_point():
            raise InputError(f"the layer {self.name!r} takes floating-point inputs, got {input.dtype}.")
        if isinstance(input, GuardedWeight):
            raise bypassed(input.guard.layer)
        if self.crossbar.periphery.rounds:
            reject_forward_mode(self.name)
        if self.noise is not None:
            reject_tracing(self.name)
            reject_vmap(self.name)
            # Noise of each call is a stream of its own: it does not depend on how many images earlier calls were for.
            earlier = 0 if self.forward_depth is None else self.forward_depth.count_call((id(self), self.step))
            self._stream = (*self.step, f"call {earlier}") if earlier else self.step
        x = self.check_input(input)
        with torch.autocast(x.device.type, enabled=False), float32_convolutions():
            if self.find_ranges is not None:
                self.calibrated = self.find_ranges(self, x)
            values = VALUES_PER_CHUNK if x.device.type == "cpu" else VALUES_ON_ACCELERATOR
            out = in_chunks(self._compute, x, self.images_of(x, values), self._layout(x)).to(x.dtype)
        return out if out.ndim == input.ndim else out.squeeze(0)

    def _layout(self, x: Tensor) -> torch.memory_format:
        """Layout of the outputs for inputs x, as in torch: a model may take a view of them."""
        layout = CHANNELS_LAST.get(x.ndim)
        if self.outputs_last or layout is None or x.is_contiguous() or not x.is_contiguous(memory_format=layout):
            return torch.contiguous_format
        return layout

    def images_of(self, x: Tensor, values: int) -> int:
        """Number of images whose inputs and outputs are about so many values."""
        if x.ndim < 2 or len(x) == 0:
            return max(len(x), 1)
        per_image = x[0].numel() * max(1.0, self.shape[0] / self.shape[1] / self.groups, self.copies_of_inputs)
        return max(1, int(values / max(per_image, 1.0)))

    def _compute(self, x: Tensor, out: Tensor | None) -> Tensor:
        """Compute outputs, written to `out` if it is given, which records no gradient."""
        total, unit, shift = self.array_outputs(x.to(self.precision))
        scale, bias = self.scale.to(self.precision).flatten(), self._digital_bias()
        if shift:
            bias = shift * scale + (0.0 if bias is None else bias)
        factor = self._per_output(scale * unit, total)
        if bias is None:
            return torch.mul(total, factor, out=out)
        return torch.addcmul(self._per_output(bias.to(self.precision), total), total, factor, out=out)

    def array_outputs(self, x: Tensor) -> Levels:
        """Compute the digital sum over all arrays, before its scale and the bias."""
        rows = self.convert_inputs(x)
        total: Tensor | None = None
        unit, shift = 1.0, 0.0
        for bank, factor in enumerate(self.factors):
            matrix = self.signed_states(bank)
            for tile in range(len(self.tiles)):
                read = self._read_array(rows, matrix, bank, tile)
                if total is None:
                    total, unit = read.numbers, factor * read.step
                else:
                    total = total.add_(read.numbers, alpha=factor * read.step / unit)
                shift += factor * read.shift
        assert total is not None
        if self.offset:
            ones = torch.ones_like(matrix[: self.groups])  # one sum for all outputs of a group
            sums = self.row_products(rows, ones, 0, ones.shape[1])
            if self.groups > 1:
                sums = sums.repeat_interleave(self.shape[0] // self.groups, dim=1)
            total = total.add_(sums, alpha=self.offset / unit)
        return Levels(total, unit, shift)

    def _digital_bias(self) -> Tensor | None:
        # The arrays' sum already includes bias rows; then only changes of the bias are added, with its gradient.
        return self.bias - self.programmed_bias() if self.bias is not None and self.bias_rows else self.bias

    # One array --------------------------------------------------------------------------------------------------

    def _read_array(self, rows: RowInputs, matrix: Tensor, bank: int, tile: int) -> Levels:
        """Contribution of one array to the digital sum: its current, in units of one device times the layer's input."""
        dac = self.crossbar.periphery.dac
        needs_gradient = torch.is_grad_enabled() and (rows.inputs.requires_grad or matrix.requires_grad)
        if dac is None or not dac.slice_bits or self.is_calibrating:
            levels = None if needs_gradient else self.levels_of_products(bank, tile)
            scale, shift = (1.0, 0.0) if levels is None else (levels.scale, levels.shift)
            current = self._column_currents(rows, matrix, bank, tile, self.full_scale, scale=scale, shift=shift)
            return self.convert_output(current, bank, tile, self.full_scale, levels)
        result = self._read_sliced(dac, rows, matrix, bank, tile)
        if needs_gradient:
            unsliced = self.row_products(rows, matrix, *self.tiles[tile])
            result = unsliced + (result - unsliced.detach())  # the gradient of the unsliced product
        return Levels(result)

    @torch.no_grad()
    def _read_sliced(self, dac: DAC, rows: RowInputs, matrix: Tensor, bank: int, tile: int) -> Tensor:
        adc, kind = self.crossbar.periphery.adc, self.dac_kind
        per_slice = adc is not None and adc.per_slice
        slices, factor = input_slices(rows.inputs, self.full_scale, kind, dac.bits, dac.slice_bits)
        bias_slices, _ = input_slices(rows.bias_input, self.full_scale, kind, dac.bits, dac.slice_bits)
        total: Tensor | None = None
        for number, (x, bias_input) in enumerate(zip(slices, bias_slices, strict=True)):
            part = RowInputs(x, bias_input, driven=rows.driven)
            current = self._column_currents(part, matrix, bank, tile, 1.0, input_slice=number)
            if per_slice:
                current = self.convert_output(current, bank, tile, 1.0).values()
            total = (current if total is None else total.add_(current)).mul_(2.0**-dac.slice_bits)
        assert total is not None
        total = total.mul_(factor)
        if not per_slice:
            total = self.convert_output(total, bank, tile, 1.0).values()
        return total.mul_(self.full_scale)

    def _column_currents(
        self,
        rows: RowInputs,
        matrix: Tensor,
        bank: int,
        tile: int,
        unit: float,
        *,
        input_slice: int = 0,
        scale: float = 1.0,
        shift: float = 0.0,
    ) -> Tensor:
        """Column currents of one array, with noise: scale * current + shift. `unit` is a full-scale input."""
        start, stop = self.tiles[tile]
        if self.noise is None:
            return self.row_products(rows, matrix, start, stop, scale, shift)
        array, periphery = (bank, tile, input_slice, *self._stream), self.crossbar.periphery
        variances: Tensor | None = getattr(self, f"variances_{bank}", None)
        if periphery.dac_noise:
            std = periphery.dac_noise * unit
            current, variance = self.read_noisy_inputs(rows, matrix, variances, (start, stop), array, std)
        else:
            inputs = self._inputs_of(rows, start, stop)
            current, variance = self._multiply(inputs, matrix, start, stop, scale, shift), None
            if variances is not None:
                with torch.no_grad():
                    variance = self._multiply(inputs.squares(), variances, start, stop)
                    variance = to_variance_type(variance, overwrite=True).to(current.dtype)
        return self.add_noise(current, variance, periphery.output_noise * unit, array, scale)
