"""Layers whose matrices CrossSim's cores multiply (CrossSim 3.2, BSD-3, sandialabs/cross-sim)."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aimc_robust.errors import InputError
from aimc_robust.seeding import Axes

# The most numbers that one step holds at a time: inputs of windows, or copies of a matrix, one for each read.
STEP_NUMBERS = 2**24


class NumpyStream:
    """A stream of CrossSim's random numbers, which come from numpy's global generator; that one is left as found."""

    def __init__(self, axes: Axes) -> None:
        self._state = np.random.RandomState(axes.seed() % 2**32).get_state()

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Within, numpy's global generator continues this stream."""
        outside = np.random.get_state()
        np.random.set_state(self._state)
        try:
            yield
        finally:
            self._state = np.random.get_state()
            np.random.set_state(outside)


class CrossSimArrays:
    """One weight matrix on one chip in CrossSim: a core for each group, programmed once, when made.

    name: the layer's, for messages. matrix: (outputs, inputs and bias rows) [weight]. bias_rows: of these, driven by 1.
    tree: `crosssim_parameters`. groups: of outputs, each with arrays of its own. axes: name the chip and the arrays;
    programming and reading have streams of their own, so read noise goes on from multiply to multiply and a chip does
    not depend on it.
    """

    def __init__(
        self, name: str, matrix: Tensor, tree: dict[str, Any], *, bias_rows: int, groups: int, axes: Axes
    ) -> None:
        from simulator import AnalogCore, CrossSimParameters

        self.name, self.inputs, self.bias_rows = name, matrix.shape[1] - bias_rows, bias_rows
        device, core = tree["xbar"]["device"], tree["core"]
        bits = device["cell_bits"]
        # CrossSim's multiply divides an offset mapping's currents by the whole window, its read-back by the part that
        # leaves a level for zero; the read-back is right.
        self.factor = (2.0**bits - 1.0) / (2.0**bits - 2.0) if core["style"] == "OFFSET" and bits else 1.0
        circuit = tree["xbar"].get("array", {}).get("parasitics", {}).get("enable", False)
        curved = device.get("nonlinear_IV", {}).get("enable", False)
        self.copies_per_read = bool(device["read_noise"]["enable"] or circuit or curved)
        self._reads = NumpyStream(axes.at(effect="crosssim-read"))
        self.cores = []
        with NumpyStream(axes.at(effect="crosssim")).installed(), warnings.catch_warnings():
            # Of two-sided mappings, that zero is no level: so it is in ours.
            warnings.filterwarnings("ignore", message="When using BALANCED core with the TWO_SIDED", module="simulator")
            for part in matrix.float().cpu().chunk(groups):
                try:
                    self.cores.append(AnalogCore(part.numpy().copy(), CrossSimParameters(**copy.deepcopy(tree))))
                except (ValueError, KeyError, TypeError, NotImplementedError) as error:
                    raise InputError(f"CrossSim refuses the layer {name!r}: {error}") from error

    @property
    def outputs(self) -> int:
        """Of one group."""
        return self.cores[0].shape[0]

    @property
    def programmed(self) -> Tensor:
        """(outputs, inputs and bias rows) [weight] that the devices stand for, as CrossSim reads them back."""
        return torch.cat([torch.from_numpy(np.array(core.get_matrix(), dtype=np.float32)) for core in self.cores])

    def multiply(self, group: int, x: Tensor) -> Tensor:
        """(outputs, reads) of one group for its inputs x (inputs, reads), which the bias rows follow; float32."""
        if x.shape[0] != self.inputs:
            raise InputError(f"the layer {self.name!r} takes {self.inputs} inputs, got {x.shape[0]}.")
        if not x.shape[1]:
            return x.new_zeros((self.outputs, 0))
        core = self.cores[group]
        x = F.pad(x, (0, 0, 0, self.bias_rows), value=1.0)
        step = max(STEP_NUMBERS // (x.shape[0] * self.outputs), 1) if self.copies_per_read else x.shape[1]
        with self._reads.installed():
            parts = [core.matmul(np.ascontiguousarray(part.numpy())) for part in x.split(step, dim=1)]
        return torch.from_numpy(np.concatenate(parts, axis=1).astype(np.float32)) * self.factor


class CrossSimLayer(nn.Module):
    """A layer in evaluation form on CrossSim's arrays: no gradient, any batch size, dtype of the input.

    bias: digital, or None where it has rows of its own. Copies by `copy.deepcopy` go on by themselves; CrossSim's
    cores cannot be pickled.
    """

    def __init__(self, arrays: CrossSimArrays, bias: Tensor | None) -> None:
        super().__init__()
        self.arrays = arrays
        self.register_buffer("bias", None if bias is None else bias.detach().float().clone())

    def _checked(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            raise InputError(f"CrossSim's layers compute on the CPU; got an input on {x.device}.")
        if torch.is_grad_enabled() and x.requires_grad:
            raise InputError("no gradient passes CrossSim's layers; use torch.no_grad(), or the native backend.")
        return x.detach().float()

    def extra_repr(self) -> str:
        arrays = self.arrays
        return f"{arrays.inputs}, {arrays.outputs * len(arrays.cores)}, cores={len(arrays.cores)}"


class CrossSimLinear(CrossSimLayer):
    """A linear layer, (..., inputs) -> (..., outputs)."""

    def forward(self, x: Tensor) -> Tensor:
        reads = self._checked(x).reshape(math.prod(x.shape[:-1]), x.shape[-1])
        out = self.arrays.multiply(0, reads.T).T
        out = out if self.bias is None else out + self.bias.float()
        return out.reshape(*x.shape[:-1], self.arrays.outputs).to(x.dtype)


class CrossSimConvolution(CrossSimLayer):
    """A convolution: rows are (input channel, kernel position), and every group has its own core."""

    def __init__(self, arrays: CrossSimArrays, bias: Tensor | None, layer: nn.Module) -> None:
        super().__init__(arrays, bias)
        self.channels, self.kernel_size = layer.in_channels, layer.kernel_size
        self.stride, self.dilation = layer.stride, layer.dilation
        self.padding = layer._reversed_padding_repeated_twice
        self.padding_mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode

    def forward(self, x: Tensor) -> Tensor:
        inputs = self._checked(x)
        if x.ndim == len(self.kernel_size) + 1:  # a single image without a batch
            return self._convolved(inputs.unsqueeze(0)).squeeze(0).to(x.dtype)
        return self._convolved(inputs).to(x.dtype)

    def _convolved(self, x: Tensor) -> Tensor:
        if any(self.padding):
            x = F.pad(x, self.padding, mode=self.padding_mode)
        windows = self._windows(x)
        one = self.channels * math.prod(windows.shape[2:])
        parts = [self._multiplied(part) for part in windows.split(max(STEP_NUMBERS // max(one, 1), 1))]
        out = torch.cat(parts)
        return out if self.bias is None else out + self.bias.float().reshape(-1, *[1] * len(self.kernel_size))

    def _windows(self, x: Tensor) -> Tensor:
        """A view (images, channels, *places, *kernel)."""
        geometry = zip(self.kernel_size, self.stride, self.dilation, strict=True)
        for axis, (size, step, gap) in enumerate(geometry):
            x = x.unfold(2 + axis, gap * (size - 1) + 1, step)[..., ::gap]
        return x

    def _multiplied(self, windows: Tensor) -> Tensor:
        spatial = len(self.kernel_size)
        images, places = windows.shape[0], windows.shape[2 : 2 + spatial]
        outputs = []
        for group, part in enumerate(windows.chunk(len(self.arrays.cores), dim=1)):
            rows = part.permute(1, *range(2 + spatial, 2 + 2 * spatial), 0, *range(2, 2 + spatial))
            inputs = math.prod(rows.shape[: 1 + spatial])
            out = self.arrays.multiply(group, rows.reshape(inputs, images * math.prod(places)))
            outputs.append(out.reshape(self.arrays.outputs, images, *places).transpose(0, 1))
        return torch.cat(outputs, dim=1)
