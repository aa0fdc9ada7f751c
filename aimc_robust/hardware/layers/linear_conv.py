"""The layers that arrays compute, in place of torch's own: linear, convolutions, transposed convolutions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aimc_robust.errors import InputError
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.layers.array_layer import ArrayLayer
from aimc_robust.hardware.programming.programmed_matrix import ProgrammedMatrix

CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


class AnalogLinear(ArrayLayer):
    """A linear layer on arrays: inputs are the rows, (..., inputs) -> (..., outputs)."""

    outputs_last = True

    def check(self, x: Tensor) -> Tensor:
        if x.ndim == 0 or x.shape[-1] != self.shape[1]:
            raise InputError(f"the layer {self.name!r} takes {self.shape[1]} inputs last, got {tuple(x.shape)}.")
        return x if x.ndim > 1 else x.unsqueeze(0)

    def contract(self, x: Tensor, weight: Tensor, first: int, last: int) -> Tensor:
        return F.linear(x[..., first:last], weight)


class AnalogConvolution(ArrayLayer):
    """A convolution on arrays: rows are (input channel, kernel position) in that order, each group has its own arrays.

    The same arrays read one window after another. Padded inputs pass the DAC as any other, as in CrossSim 3.2.
    """

    def __init__(self, name: str, crossbar: Crossbar, matrix: ProgrammedMatrix, layer: nn.Module, shape: torch.Size):
        super().__init__(name, crossbar, matrix, shape)
        self.stride, self.dilation, self.groups = layer.stride, layer.dilation, layer.groups
        self._step = layer.stride
        self._edges = layer._reversed_padding_repeated_twice
        self._edge_mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        self._convolve = (F.conv1d, F.conv2d, F.conv3d)[len(shape) - 3]

    def check(self, x: Tensor) -> Tensor:
        places, channels = len(self.shape) - 2, self.shape[1] * self.groups
        if x.ndim not in (places + 1, places + 2) or x.shape[-places - 1] != channels:
            raise InputError(
                f"the layer {self.name!r} takes (images, {channels} channels, and {places} dimensions), got "
                f"{tuple(x.shape)}."
            )
        return x if x.ndim == places + 2 else x.unsqueeze(0)

    def drive(self, x: Tensor) -> Tensor:
        padded = F.pad(x, self._edges, mode=self._edge_mode) if any(self._edges) else x
        # Channels last is what makes slices of channels cheap: 2 to 3 times on a CPU.
        return padded.contiguous(memory_format=CHANNELS_LAST.get(x.ndim, torch.contiguous_format))

    def contract(self, x: Tensor, weight: Tensor, first: int, last: int) -> Tensor:
        if (first, last) != (0, self.shape[1]):
            x = (
                x.unflatten(1, (self.groups, -1))[:, :, first:last].flatten(1, 2)
                if self.groups > 1
                else x[:, first:last]
            )
        return self._convolve(x, weight, None, self._step, 0, self.dilation, self.groups)


class AnalogTransposedConvolution(AnalogConvolution):
    """A transposed convolution on arrays: the convolution of the input, spread by the stride, with the flipped kernel.

    Rows are (input channel, kernel position); rows that meet a zero between inputs are not driven.
    """

    def __init__(self, name: str, crossbar: Crossbar, matrix: ProgrammedMatrix, layer: nn.Module, shape: torch.Size):
        super().__init__(name, crossbar, matrix, layer, shape)
        self._step = 1
        self.padding, self.output_padding = layer.padding, layer.output_padding

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        self._more = self.output_padding
        if output_size is not None:
            self._more = self._missing(input.shape[2 - len(self.shape) :], list(output_size))
        return super().forward(input)

    def _missing(self, size: Sequence[int], wanted: list[int]) -> list[int]:
        """What has to be added at the far edges for the wanted output size, as torch's `output_size` means it."""
        parts = zip(size, self.stride, self.padding, self.dilation, self.shape[2:], strict=True)
        least = [(n - 1) * step - 2 * cut + gap * (k - 1) + 1 for n, step, cut, gap, k in parts]
        given = wanted[2:] if len(wanted) == len(least) + 2 else wanted
        more = [target - low for target, low in zip(given, least, strict=False)]
        if len(given) != len(least) or any(not 0 <= m < step for m, step in zip(more, self.stride, strict=True)):
            most = [low + step - 1 for low, step in zip(least, self.stride, strict=True)]
            raise InputError(f"output_size must lie between {least} and {most} for this input, got {wanted}.")
        return more

    def drive(self, x: Tensor) -> Tensor:
        return x

    def spread(self, x: Tensor) -> Tensor:
        images, channels, *size = x.shape
        spread = [(n - 1) * step + 1 for n, step in zip(size, self.stride, strict=True)]
        wide = x.new_zeros((images, channels, *spread))
        wide[(..., *(slice(None, None, step) for step in self.stride))] = x
        edges: list[int] = []
        for gap, k, cut, more in zip(self.dilation, self.shape[2:], self.padding, self._more, strict=True):
            edges = [gap * (k - 1) - cut, gap * (k - 1) - cut + more, *edges]
        return F.pad(wide, edges)

    def contract(self, x: Tensor, weight: Tensor, first: int, last: int) -> Tensor:
        return super().contract(x, weight.flip(list(range(2, weight.ndim))), first, last)
