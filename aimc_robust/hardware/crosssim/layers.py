"""Layers computed by CrossSim's cores (CrossSim 3.2, BSD-3, sandialabs/cross-sim)."""

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
from aimc_robust.hardware.programming.read_noise import reject_tracing, reject_vmap
from aimc_robust.seeding import Axes

# Largest number of values in memory at a time: inputs of windows, or copies of a matrix, one per read.
STEP_NUMBERS = 2**24


class NumpyStream:
    """A random stream for CrossSim, which draws from numpy's global generator; that generator's state is restored."""

    def __init__(self, axes: Axes) -> None:
        self._state = np.random.RandomState(axes.seed() % 2**32).get_state()

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Context manager in which numpy's global generator continues this stream."""
        global_state = np.random.get_state()
        np.random.set_state(self._state)
        try:
            yield
        finally:
            self._state = np.random.get_state()
            np.random.set_state(global_state)


class CrossSimArrays:
    """One weight matrix (outputs, inputs + bias rows) on one chip in CrossSim: one core per group.

    Programming and reading have separate random streams, so that read noise continues from multiplication to
    multiplication and a chip does not depend on it. Bias rows are driven by 1.

    Raises:
        InputError: if CrossSim rejects the parameters, the result of `crosssim_parameters`.
    """

    def __init__(
        self, name: str, matrix: Tensor, parameters: dict[str, Any], *, bias_rows: int, groups: int, axes: Axes
    ) -> None:
        from simulator import AnalogCore, CrossSimParameters

        self.name, self.inputs, self.bias_rows = name, matrix.shape[1] - bias_rows, bias_rows
        device, core = parameters["xbar"]["device"], parameters["core"]
        bits = device["cell_bits"]
        # For an offset mapping CrossSim's matmul divides currents by the whole window, its read-back by the part that
        # leaves a level for zero. The read-back is correct.
        self.factor = (2.0**bits - 1.0) / (2.0**bits - 2.0) if core["style"] == "OFFSET" and bits else 1.0
        parasitics = parameters["xbar"].get("array", {}).get("parasitics", {}).get("enable", False)
        nonlinear = device.get("nonlinear_IV", {}).get("enable", False)
        self.copies_per_read = bool(device["read_noise"]["enable"] or parasitics or nonlinear)
        self._read_stream = NumpyStream(axes.at(effect="crosssim-read"))
        self.cores = []
        with NumpyStream(axes.at(effect="crosssim")).installed(), warnings.catch_warnings():
            # CrossSim warns that two-sided mappings have no level at zero, as in the native backend.
            warnings.filterwarnings("ignore", message="When using BALANCED core with the TWO_SIDED", module="simulator")
            for part in matrix.float().cpu().chunk(groups):
                try:
                    self.cores.append(AnalogCore(part.numpy().copy(), CrossSimParameters(**copy.deepcopy(parameters))))
                except (ValueError, KeyError, TypeError, NotImplementedError) as error:
                    raise InputError(f"CrossSim refuses the layer {name!r}: {error}") from error

    @property
    def outputs(self) -> int:
        """Number of outputs of one group."""
        return self.cores[0].shape[0]

    @property
    def programmed(self) -> Tensor:
        """Weights (outputs, inputs + bias rows) that the devices represent, as read back by CrossSim."""
        return torch.cat([torch.from_numpy(np.array(core.get_matrix(), dtype=np.float32)) for core in self.cores])

    def multiply(self, group: int, x: Tensor) -> Tensor:
        """Multiply the matrix of one group with inputs (inputs, reads): outputs (outputs, reads), float32."""
        if x.shape[0] != self.inputs:
            raise InputError(f"the layer {self.name!r} takes {self.inputs} inputs, got {x.shape[0]}.")
        if not x.shape[1]:
            return x.new_zeros((self.outputs, 0))
        core = self.cores[group]
        x = F.pad(x, (0, 0, 0, self.bias_rows), value=1.0)
        step = max(STEP_NUMBERS // (x.shape[0] * self.outputs), 1) if self.copies_per_read else x.shape[1]
        with self._read_stream.installed():
            parts = [core.matmul(np.ascontiguousarray(part.numpy())) for part in x.split(step, dim=1)]
        return torch.from_numpy(np.concatenate(parts, axis=1).astype(np.float32)) * self.factor


class CrossSimLayer(nn.Module):
    """Base of layers in CrossSim's arrays: no gradient, any batch size, outputs in the dtype of the input.

    Copies by `copy.deepcopy` continue independently; CrossSim's cores cannot be pickled.
    """

    bias: Tensor | None

    def __init__(self, arrays: CrossSimArrays, bias: Tensor | None) -> None:
        super().__init__()
        self.arrays = arrays
        self.register_buffer("bias", None if bias is None else bias.detach().float().clone())

    def _checked(self, x: Tensor) -> Tensor:
        reject_tracing(self.arrays.name)
        reject_vmap(self.arrays.name)
        if x.device.type != "cpu":
            raise InputError(f"CrossSim's layers compute on the CPU; got an input on {x.device}.")
        if torch.is_grad_enabled() and x.requires_grad:
            raise InputError(
                "no gradient passes through CrossSim's layers; use torch.no_grad(), or the native backend."
            )
        return x.detach().float()


class CrossSimLinear(CrossSimLayer):
    """A linear layer in CrossSim's arrays, (..., inputs) -> (..., outputs)."""

    def forward(self, x: Tensor) -> Tensor:
        """Compute the outputs (..., outputs)."""
        reads = self._checked(x).reshape(math.prod(x.shape[:-1]), x.shape[-1])
        out = self.arrays.multiply(0, reads.T).T
        out = out if self.bias is None else out + self.bias.float()
        return out.reshape(*x.shape[:-1], self.arrays.outputs).to(x.dtype)


class CrossSimConvolution(CrossSimLayer):
    """A convolution in CrossSim's arrays. Rows are (input channel, kernel position); each group has its own core."""

    def __init__(self, arrays: CrossSimArrays, bias: Tensor | None, layer: nn.Conv1d | nn.Conv2d | nn.Conv3d) -> None:
        super().__init__(arrays, bias)
        self.channels = layer.in_channels
        self.kernel_size: tuple[int, ...] = layer.kernel_size
        self.stride: tuple[int, ...] = layer.stride
        self.dilation: tuple[int, ...] = layer.dilation
        self.padding: list[int] = layer._reversed_padding_repeated_twice
        self.padding_mode: str = "constant" if layer.padding_mode == "zeros" else layer.padding_mode

    def forward(self, x: Tensor) -> Tensor:
        """Compute the outputs of (images, channels, ...) or (channels, ...)."""
        inputs = self._checked(x)
        if x.ndim == len(self.kernel_size) + 1:  # a single image without a batch
            return self._convolve(inputs.unsqueeze(0)).squeeze(0).to(x.dtype)
        return self._convolve(inputs).to(x.dtype)

    def _convolve(self, x: Tensor) -> Tensor:
        if any(self.padding):
            x = F.pad(x, self.padding, mode=self.padding_mode)
        windows = self._windows(x)
        per_image = self.channels * math.prod(windows.shape[2:])
        chunks = windows.split(max(STEP_NUMBERS // max(per_image, 1), 1))
        out = torch.cat([self._multiply(chunk) for chunk in chunks])
        return out if self.bias is None else out + self.bias.float().reshape(-1, *[1] * len(self.kernel_size))

    def _windows(self, x: Tensor) -> Tensor:
        """View (images, channels, *positions, *kernel)."""
        geometry = zip(self.kernel_size, self.stride, self.dilation, strict=True)
        for axis, (size, stride, dilation) in enumerate(geometry):
            x = x.unfold(2 + axis, dilation * (size - 1) + 1, stride)[..., ::dilation]
        return x

    def _multiply(self, windows: Tensor) -> Tensor:
        spatial = len(self.kernel_size)
        images, positions = windows.shape[0], windows.shape[2 : 2 + spatial]
        outputs = []
        for group, part in enumerate(windows.chunk(len(self.arrays.cores), dim=1)):
            rows = part.permute(1, *range(2 + spatial, 2 + 2 * spatial), 0, *range(2, 2 + spatial))
            inputs = math.prod(rows.shape[: 1 + spatial])
            out = self.arrays.multiply(group, rows.reshape(inputs, images * math.prod(positions)))
            outputs.append(out.reshape(self.arrays.outputs, images, *positions).transpose(0, 1))
        return torch.cat(outputs, dim=1)
