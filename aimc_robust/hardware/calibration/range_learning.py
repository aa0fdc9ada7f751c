"""The input range of a layer while it is learned: quantization with a gradient of the range, and what a batch shows.

The gradient is that of clipping, with rounding taken as the identity: an input beyond the range changes as the range
does. Only the part that asks for a larger range counts, as in aihwkit; a decay is what makes ranges smaller.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from aimc_robust.errors import InputError
from aimc_robust.hardware.calibration.batch_ranges import batch_ranges
from aimc_robust.hardware.config.quantization import quantize
from aimc_robust.hardware.config.ranges import LayerRanges
from aimc_robust.hardware.layers.array_layer import ArrayLayer


class RangeRecorder:
    """The ranges of one layer during one update, and what its batches show of them.

    Args:
        present: The layer's ranges as learned so far; None: there are none, so its first batch gives them.
        is_initializing: Whether ranges of the inputs are still found from batches.
        init_std: An input range in standard deviations of a batch's inputs; None: their quantile `percentile`.
        percentile: Quantile of ranges that are found.

    Attributes:
        full_scale: A scalar without meaning of its own, whose gradient is that of the layer's full scale; None: the
            layer computed no gradient.
        clipped: Number of inputs at or beyond the ends of the range.
        inputs: Number of inputs.
        scales: Input range of each batch, while ranges are found.
        is_signed: Whether any input was negative, while ranges are found.
        outputs: Ranges of the ADCs of each batch.
        slices: Number of weight slices whose ADCs have a range of their own; 0: they are not calibrated.
        least: Lower bound of the full scale.
    """

    def __init__(
        self, present: LayerRanges | None, *, is_initializing: bool, init_std: float | None, percentile: float
    ) -> None:
        self.present, self.is_initializing, self.init_std = present, is_initializing, init_std
        self.percentile = percentile
        self.full_scale: Tensor | None = None
        self.clipped: Tensor | None = None
        self.inputs, self.least, self.slices = 0, 0.0, 0
        self.scales: list[float] = []
        self.is_signed = present is not None and present.signed
        self.outputs: list[tuple[tuple[float, float], ...]] = []

    def attach(self, layer: ArrayLayer) -> None:
        """Let a layer compute with these ranges, and record what it sees; bias rows are never clipped."""
        adc = layer.crossbar.periphery.adc
        self.slices = len(layer.factors) if adc is not None and adc.needs_calibration else 0
        self.least = 1.0 if layer.bias_rows else 0.0
        layer.find_ranges, layer.quantize_inputs = self.find, self.quantize

    def find(self, layer: ArrayLayer, x: Tensor) -> LayerRanges:
        """Return the ranges for a batch of inputs, see `ArrayLayer.find_ranges`."""
        if self.is_initializing:
            self._observe(layer, x)
        scale = self.present.full_scale if self.present else sum(self.scales) / max(len(self.scales), 1)
        scale = max(scale or 1.0, self.least)
        inputs = (-scale if self.is_signed else 0.0, scale)
        if not self.slices:
            return LayerRanges(inputs=inputs)
        found = batch_ranges(layer, x, self.percentile, inputs=inputs)
        self.outputs.append(found.outputs)
        known = self.present.outputs if self.present else ()
        return LayerRanges(inputs=inputs, outputs=known) if known else found

    @torch.no_grad()
    def _observe(self, layer: ArrayLayer, x: Tensor) -> None:
        layer.observer = lambda kind, index, values: None  # so that no ranges are needed, and padding is seen
        values = layer.dac_inputs(x.to(layer.precision))
        layer.observer = None
        if values.numel() == 0:
            raise InputError(f"the layer {layer.name!r} met an empty batch, which has no converter ranges.")
        low, high, std = torch.stack([*values.aminmax(), values.std(correction=0)]).tolist()  # in one transfer
        if not -torch.inf < low <= high < torch.inf:
            raise InputError(f"the layer {layer.name!r} met values that are not finite; training diverges.")
        self.is_signed |= low < 0
        if self.init_std is None:
            scale = batch_ranges(layer, x, self.percentile, only_inputs=True).full_scale if low < high else 0.0
        else:
            scale = self.init_std * std
        if scale > 0:  # all inputs equal give no range, such as a recurrent layer's first state
            self.scales.append(scale)

    def quantize(self, x: Tensor, low: float, high: float, steps: int, *, overwrite: bool = False) -> Tensor:
        """Clip and round as `quantization.quantize` does, with a gradient of the range too."""
        if not torch.is_grad_enabled():
            return quantize(x, low, high, steps, overwrite=overwrite)
        if self.full_scale is None:
            self.full_scale = torch.zeros((), dtype=x.dtype, device=x.device, requires_grad=True)
            self.clipped = torch.zeros((), dtype=torch.int64, device=x.device)
        rounded: Tensor = _LearnedQuantization.apply(x, self.full_scale, low, high, steps, self)
        return rounded

    def count(self, clipped: Tensor, inputs: int) -> None:
        """Add to the number of clipped inputs, and of all."""
        assert self.clipped is not None
        self.clipped += clipped
        self.inputs += inputs

    @property
    def gradient(self) -> Tensor | None:
        """Gradient of the loss with respect to the full scale, summed over the passes; None: there was none."""
        return None if self.full_scale is None else self.full_scale.grad


class _LearnedQuantization(torch.autograd.Function):
    """Clipping and rounding; the gradient of rounding is taken as 1."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, full_scale: Tensor, low: float, high: float, steps: int, recorder: RangeRecorder
    ) -> Tensor:
        ctx.save_for_backward(x)
        ctx.low, ctx.high, ctx.recorder = low, high, recorder
        return quantize(x, low, high, steps)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        grad, low, high = grads[0], ctx.low, ctx.high
        above = x >= high
        gradient, clipped = torch.where(above, grad, 0.0).clamp(max=0.0).sum(), above.sum()
        if low < 0:  # a lower end of 0 stays where it is
            below = x <= low
            gradient = gradient - torch.where(below, grad, 0.0).clamp(min=0.0).sum()
            clipped = clipped + below.sum()
        ctx.recorder.count(clipped, x.numel())
        inside = grad * ((x >= low) & (x <= high)) if ctx.needs_input_grad[0] else None
        return inside, gradient, None, None, None, None
