"""Converter ranges of a layer from the batch that it computes: what `calibrate` finds from data, anew at each batch."""

from __future__ import annotations

import torch
from torch import Tensor

from aimc_robust.errors import InputError
from aimc_robust.hardware.calibration.range_ends import input_range, output_range
from aimc_robust.hardware.config.ranges import LayerRanges
from aimc_robust.hardware.layers.array_layer import VALUES_PER_CHUNK, ArrayLayer

SAMPLE = 2**18  # values of which quantiles are taken: dozens of them lie beyond a percentile of 0.9999


class _BatchValues:
    """The extremes and quantiles of the values of a batch at one point of a layer, of many from a sample."""

    def __init__(self, values: list[Tensor], percentile: float) -> None:
        everything = torch.cat([part.flatten() for part in values])
        low, high = everything.aminmax()
        if len(everything) > SAMPLE:  # random, since evenly spaced values would always come from the same columns
            generator = torch.Generator().manual_seed(0)
            everything = everything[torch.randint(len(everything), (SAMPLE,), generator=generator).to(low.device)]
        last = len(everything) - 1
        # The few largest and smallest values are found much faster than all are sorted.
        few = everything.topk(round((1.0 - percentile) * last) + 1, largest=False, sorted=False).values.max()
        most = everything.topk(last - round(percentile * last) + 1, sorted=False).values.min()
        self.low, self.high, *self._span = torch.stack([low, high, few, most]).tolist()  # waits for a GPU once

    def span(self, percentile: float) -> tuple[float, float]:
        """Return the quantiles 1 - percentile and percentile, of the percentile that was asked for."""
        low, high = self._span
        return low, high


@torch.no_grad()
def batch_ranges(
    layer: ArrayLayer,
    x: Tensor,
    percentile: float,
    *,
    inputs: tuple[float, float] | None = None,
    only_inputs: bool = False,
) -> LayerRanges:
    """Return the ranges of a layer's converters for a batch of inputs; read noise is left out.

    Large batches are sampled: column currents are those of evenly spaced images. `inputs` is the input range where it
    is known; with `only_inputs` it is all that is found.

    Raises:
        InputError: if the batch is empty or holds values that are not finite.
    """
    seen: dict[tuple[str, int], list[Tensor]] = {}
    noise, layer.noise, layer.calibrated = layer.noise, None, None
    layer.observer = lambda kind, index, values: seen.setdefault((kind, index), []).append(values)
    x = x.to(layer.precision)
    try:
        if inputs is None:
            layer.convert_inputs(x)
            values, *bias_inputs = (_checked(layer, seen.pop(key), percentile) for key in sorted(seen))
            inputs = input_range(values, *bias_inputs, percentile=percentile)
        ranges = LayerRanges(inputs=inputs)
        adc = layer.crossbar.periphery.adc
        if only_inputs or adc is None or not adc.needs_calibration:
            return ranges
        layer.calibrated = ranges
        images = max(1, 2 * SAMPLE * layer.images_of(x, VALUES_PER_CHUNK) // VALUES_PER_CHUNK)
        layer.array_outputs(x[:: -(-len(x) // images)])
        symmetric = adc.kind == "sign-magnitude"
        currents = [_checked(layer, seen[key], percentile) for key in sorted(seen) if key[0] == "current"]
        return LayerRanges(
            inputs=ranges.inputs, outputs=tuple(output_range(bank, percentile, symmetric) for bank in currents)
        )
    finally:
        layer.noise, layer.observer = noise, None


def _checked(layer: ArrayLayer, values: list[Tensor], percentile: float) -> _BatchValues:
    if not any(part.numel() for part in values):
        raise InputError(f"the layer {layer.name!r} met an empty batch, which has no converter ranges.")
    batch = _BatchValues(values, percentile)
    if not -torch.inf < batch.low <= batch.high < torch.inf:
        raise InputError(f"the layer {layer.name!r} met values that are not finite; training diverges.")
    return batch
