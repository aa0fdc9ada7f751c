"""Analog replacements of torch's linear layers, convolutions and transposed convolutions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import EllipsisType

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aimc_robust.errors import InputError
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.layers.array_layer import CHANNELS_LAST, ArrayLayer
from aimc_robust.hardware.layers.bypass_guard import WeightGuard
from aimc_robust.hardware.layers.own_forward import ArrayGuard
from aimc_robust.hardware.programming.programmed_matrix import ProgrammedMatrix

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
TransposedConvolution = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d

CONVOLVE: tuple[Callable[..., Tensor], ...] = (F.conv1d, F.conv2d, F.conv3d)


class AnalogLinear(ArrayLayer):
    """A linear layer in arrays, (..., inputs) -> (..., outputs). Rows are inputs."""

    outputs_last = True

    @property
    def guard(self) -> WeightGuard:
        """A product of the model's own code with the whole weight and bias is computed in the arrays."""
        return ArrayGuard(self, ())

    def check_input(self, x: Tensor) -> Tensor:
        """Return `x` with a batch dimension; see `ArrayLayer.check_input`."""
        if x.ndim == 0 or x.shape[-1] != self.shape[1]:
            raise InputError(f"the layer {self.name!r} takes {self.shape[1]} inputs last, got {tuple(x.shape)}.")
        return x if x.ndim > 1 else x.unsqueeze(0)

    def select_channels(self, x: Tensor, first: int, last: int) -> Tensor:
        """Return a range of inputs; see `ArrayProduct.select_channels`."""
        return x[..., first:last]

    def product(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Multiply; see `ArrayProduct.product`."""
        return F.linear(x, weight, bias)

    def read_inputs(self, x: Tensor) -> Tensor:
        """Return `x`: each vector is a read; see `NoisyInputs.read_inputs`."""
        return x

    def read_product(self, inputs: Tensor, matrix: Tensor) -> Tensor:
        """Multiply; see `NoisyInputs.read_product`."""
        return F.linear(inputs, matrix)


class AnalogConvolution(ArrayLayer):
    """A convolution in arrays.

    Rows are (input channel, kernel position) in this order, and each group has its own arrays. The same arrays read one
    window after another. Padded inputs pass through the DAC like all others, as in CrossSim 3.2.
    """

    def __init__(
        self,
        name: str,
        crossbar: Crossbar,
        matrix: ProgrammedMatrix,
        layer: Convolution | TransposedConvolution,
        shape: torch.Size,
    ) -> None:
        super().__init__(name, crossbar, matrix, shape)
        self.stride: tuple[int, ...] = layer.stride
        self.dilation: tuple[int, ...] = layer.dilation
        self.groups = layer.groups
        self._window_stride: int | tuple[int, ...] = layer.stride
        self.set_padding(layer._reversed_padding_repeated_twice, layer.padding_mode)
        self._noisy_zeros = crossbar.periphery.dac_noise > 0
        self._convolve = CONVOLVE[len(shape) - 3]

    def set_padding(self, padding: Sequence[int], mode: str = "zeros") -> None:
        """Pad so from now on: sizes before and after each dimension, the last first, and torch's mode."""
        self._padding = list(padding)
        self._padding_mode = "constant" if mode == "zeros" else mode
        self._symmetric_zeros = mode == "zeros" and self._padding[::2] == self._padding[1::2]

    def check_input(self, x: Tensor) -> Tensor:
        """Return `x` with a batch dimension; see `ArrayLayer.check_input`."""
        spatial, channels = len(self.shape) - 2, self.shape[1] * self.groups
        if x.ndim not in (spatial + 1, spatial + 2) or x.shape[-spatial - 1] != channels:
            raise InputError(
                f"the layer {self.name!r} takes (images, {channels} channels, and {spatial} dimensions), got "
                f"{tuple(x.shape)}."
            )
        return x if x.ndim == spatial + 2 else x.unsqueeze(0)

    @property
    def pads_in_product(self) -> bool:
        """Whether the product pads with zeros, which is faster than converting padded inputs.

        It holds as long as all of them leave the DAC as 0, without noise.
        """
        exact_zeros = self._symmetric_zeros and not self._noisy_zeros
        return exact_zeros and self.observer is None and self.dac_kind != "signed"

    def dac_inputs(self, x: Tensor) -> Tensor:
        """Return padded inputs, unless the product pads them; see `InputStage.dac_inputs`."""
        is_padded = any(self._padding) and not self.pads_in_product
        return F.pad(x, self._padding, mode=self._padding_mode) if is_padded else x

    def select_channels(self, x: Tensor, first: int, last: int) -> Tensor:
        """Return a range of channels; see `ArrayProduct.select_channels`."""
        if self.groups == 1:
            x = x[:, first:last]
        elif (first, last) != (0, self.shape[1]):
            x = x.unflatten(1, (self.groups, -1))[:, :, first:last].flatten(1, 2)
        # Convolutions of the few channels of an array are faster with channels last.
        return x.contiguous(memory_format=CHANNELS_LAST.get(x.ndim, torch.contiguous_format))

    def product(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Convolve; see `ArrayProduct.product`."""
        padding = self._padding[::-2] if self.pads_in_product else 0
        return self._convolve(x, weight, bias, self._window_stride, padding, self.dilation, self.groups)

    def read_inputs(self, x: Tensor) -> Tensor:
        """Return the windows (images, groups, rows, *positions); see `NoisyInputs.read_inputs`."""
        spatial = len(self.shape) - 2
        strides = (self._window_stride,) * spatial if isinstance(self._window_stride, int) else self._window_stride
        for axis, (size, stride, dilation) in enumerate(zip(self.shape[2:], strides, self.dilation, strict=True)):
            x = x.unfold(2 + axis, dilation * (size - 1) + 1, stride)[..., ::dilation]
        windows = x.unflatten(1, (self.groups, -1))  # (images, groups, channels, *positions, *kernel)
        kernel = range(windows.ndim - spatial, windows.ndim)
        return windows.movedim(tuple(kernel), tuple(range(3, 3 + spatial))).flatten(2, 2 + spatial)

    def read_product(self, inputs: Tensor, matrix: Tensor) -> Tensor:
        """Multiply windows (images, groups, rows, *positions); see `NoisyInputs.read_product`."""
        weight = matrix.reshape(*matrix.shape, *[1] * (len(self.shape) - 2))
        return self._convolve(inputs.flatten(1, 2), weight, None, 1, 0, 1, self.groups)


class AnalogTransposedConvolution(AnalogConvolution):
    """A transposed convolution in arrays.

    It is computed as the convolution of the input, spread by the stride, with the flipped kernel. Rows are (input
    channel, kernel position); rows at a zero between inputs are not driven.
    """

    def __init__(
        self,
        name: str,
        crossbar: Crossbar,
        matrix: ProgrammedMatrix,
        layer: TransposedConvolution,
        shape: torch.Size,
    ) -> None:
        super().__init__(name, crossbar, matrix, layer, shape)
        self._window_stride = 1
        assert not isinstance(layer.padding, str)  # torch has text such as "same" for plain convolutions only
        self.padding: tuple[int, ...] = layer.padding
        self.output_padding: tuple[int, ...] = layer.output_padding

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """Compute the layer's output; see `ArrayLayer.forward`.

        `output_size` is the spatial size of the output, as for torch's layer; None takes the smallest plus
        `output_padding`.
        """
        x = self.check_input(input)
        smallest = self._smallest_size(x.shape[2:])
        self._output_padding: Sequence[int] = self.output_padding
        if output_size is not None:
            self._output_padding = self._padding_for(smallest, list(output_size))
        size = [low + extra for low, extra in zip(smallest, self._output_padding, strict=True)]
        if min(size) < 0:
            raise InputError(f"the layer {self.name!r} would have an output of size {size} for {tuple(input.shape)}.")
        if min(size) == 0:
            empty = x.new_empty(len(x), self.shape[0], *size)
            return empty if empty.ndim == input.ndim else empty.squeeze(0)
        return super().forward(input)

    def _smallest_size(self, size: Sequence[int]) -> list[int]:
        """Spatial size of the output, without output padding, for an input of this spatial size."""
        return [
            (n - 1) * stride - 2 * padding + dilation * (kernel - 1) + 1
            for n, stride, padding, dilation, kernel in zip(
                size, self.stride, self.padding, self.dilation, self.shape[2:], strict=True
            )
        ]

    def _padding_for(self, smallest: list[int], output_size: list[int]) -> list[int]:
        """Output padding that gives `output_size`."""
        spatial = output_size[2:] if len(output_size) == len(smallest) + 2 else output_size
        extra = [target - low for target, low in zip(spatial, smallest, strict=False)]
        if len(spatial) != len(smallest) or any(
            not 0 <= e < stride for e, stride in zip(extra, self.stride, strict=True)
        ):
            largest = [low + stride - 1 for low, stride in zip(smallest, self.stride, strict=True)]
            raise InputError(f"output_size must be from {smallest} to {largest} for this input, got {output_size}.")
        return extra

    @property
    def pads_in_product(self) -> bool:
        """False: `spread_inputs` pads."""
        return False

    def dac_inputs(self, x: Tensor) -> Tensor:
        """Return `x`: padding is not driven; see `InputStage.dac_inputs`."""
        return x

    def spread_inputs(self, x: Tensor) -> Tensor:
        """Return inputs spread by the stride and padded; see `InputStage.spread_inputs`."""
        images, channels, *size = x.shape
        spread_size = [(n - 1) * stride + 1 for n, stride in zip(size, self.stride, strict=True)]
        spread = x.new_zeros((images, channels, *spread_size))
        positions: list[EllipsisType | slice] = [..., *(slice(None, None, stride) for stride in self.stride)]
        spread[tuple(positions)] = x
        padding: list[int] = []
        for dilation, kernel, cut, extra in zip(
            self.dilation, self.shape[2:], self.padding, self._output_padding, strict=True
        ):
            padding = [dilation * (kernel - 1) - cut, dilation * (kernel - 1) - cut + extra, *padding]
        return F.pad(spread, padding)

    def product(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Convolve with the flipped kernel; see `ArrayProduct.product`."""
        return super().product(x, weight.flip(list(range(2, weight.ndim))), bias)

    def read_inputs(self, x: Tensor) -> Tensor:
        """Return the windows, whose kernel is flipped; see `NoisyInputs.read_inputs`."""
        windows = super().read_inputs(x)
        kernel = windows.unflatten(2, (self.shape[1], *self.shape[2:]))
        return kernel.flip(list(range(3, 3 + len(self.shape) - 2))).flatten(2, 2 + len(self.shape) - 2)
