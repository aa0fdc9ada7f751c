"""Find each layer's converter ranges from data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from aimc_robust.errors import InputError, require_finite
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.config.ranges import LayerRanges
from aimc_robust.hardware.conversion.prepare import prepare
from aimc_robust.hardware.conversion.replace_layers import install_arrays
from aimc_robust.hardware.layers.array_layer import ArrayLayer
from aimc_robust.hardware.layers.input_stage import Observer
from aimc_robust.hardware.programming.programmed_matrix import Chip
from aimc_robust.seeding import Axes

# Values kept of each layer: dozens of them lie beyond a percentile of 0.9999.
KEPT = 2**19


def calibrate(model: nn.Module, crossbar: Crossbar, batches: Iterable[Any], *, percentile: float = 0.9999) -> Crossbar:
    """`crossbar` with the converter ranges of `model`'s layers, found from data on a chip without errors.

    A first pass finds each layer's inputs, a second one the column currents that its ADCs would see behind the DACs.
    A range spans the quantiles 1 - percentile and percentile of its values (percentile 1: all of them); the inputs'
    keeps its lower end at 0 where no input was negative, and a sign-magnitude ADC's is made symmetric.

    batches: inputs, or (inputs, labels) pairs whose labels are not used. Layers that the model does not call get no
    ranges, and raise if they are called after all. Raises InputError when there are no batches.
    """
    require_finite("percentile", percentile, low=0.5, high=1.0)
    inputs = [batch[0] if isinstance(batch, list | tuple) else batch for batch in batches]
    if not inputs or any(len(x) == 0 for x in inputs):
        raise InputError("calibration needs at least one batch with at least one input, got none.")
    exact = crossbar._replace_unchecked(error_scale=0.0, stuck=(0.0, 0.0), read_noise=False, ranges=None)
    values = _observed(model, exact, inputs, "input")
    ranges = {name: LayerRanges(inputs=_input_range(*parts, percentile=percentile)) for name, parts in values.items()}
    if crossbar.adc is None or not crossbar.adc.needs_calibration:
        return crossbar._replace_unchecked(ranges=ranges)
    currents = _observed(model, exact._replace_unchecked(ranges=ranges), inputs, "current")
    symmetric = crossbar.adc.kind == "sign-magnitude"
    outputs = {
        name: tuple(_output_range(sample, percentile, symmetric) for sample in samples)
        for name, samples in currents.items()
    }
    return crossbar._replace_unchecked(
        ranges={name: replace(layer, outputs=outputs[name]) for name, layer in ranges.items()}
    )


class _Sample:
    """Values seen by a layer: their ends, and a random part of them to take quantiles of."""

    def __init__(self) -> None:
        self.low, self.high = float("inf"), float("-inf")
        self._generator = torch.Generator().manual_seed(0)
        self._rate, self._kept = 1.0, torch.empty(0)

    def add(self, values: Tensor) -> None:
        flat = values.detach().flatten()
        if not torch.isfinite(flat).all():
            raise InputError("calibration met values that are not finite; check the data and the model.")
        self.low, self.high = min(self.low, float(flat.min())), max(self.high, float(flat.max()))
        wanted = round(len(flat) * self._rate)
        if wanted < len(flat):  # at random: evenly spaced ones would always come from the same columns
            flat = flat[torch.randint(len(flat), (wanted,), generator=self._generator).to(flat.device)]
        self._kept = torch.cat([self._kept, flat.float().cpu()])
        while len(self._kept) > KEPT:
            self._kept = self._kept[torch.rand(len(self._kept), generator=self._generator) < 0.5]
            self._rate /= 2

    def span(self, percentile: float) -> tuple[float, float]:
        """The quantiles 1 - percentile and percentile; for 1 the ends of all values, whether kept or not."""
        if percentile == 1.0:
            return self.low, self.high
        ordered = self._kept.sort().values
        last = len(ordered) - 1
        return float(ordered[round((1.0 - percentile) * last)]), float(ordered[round(percentile * last)])


@torch.no_grad()
def _observed(model: nn.Module, crossbar: Crossbar, inputs: list[Any], what: str) -> dict[str, list[_Sample]]:
    """Layer -> what it saw of `what` over all inputs, for each bank (inputs: and, second, what drives bias rows)."""
    analog = install_arrays(prepare(model)[0], crossbar, Chip(axes=Axes(0)))
    layers = {module.name: module for module in analog.modules() if isinstance(module, ArrayLayer)}
    seen: dict[str, list[_Sample]] = {name: [] for name in layers}

    def observer(name: str) -> Observer:
        def note(kind: str, bank: int, values: Tensor) -> None:
            if kind == what:
                while len(seen[name]) <= bank:
                    seen[name].append(_Sample())
                seen[name][bank].add(values)

        return note

    for name, layer in layers.items():
        layer.observer = observer(name)
    for x in inputs:
        analog(x)
    called = {name: samples for name, samples in seen.items() if samples}
    if not called:
        raise InputError("calibration saw no input of any layer; the model calls none of them.")
    return called


def _input_range(seen: _Sample, *biases: _Sample, percentile: float) -> tuple[float, float]:
    """Range of a layer's inputs; what drives its bias rows, where there are some, is never clipped."""
    low, high = seen.span(percentile)
    low = 0.0 if seen.low >= 0 else low
    high = max([high, *(one.high for one in biases)])
    return (low, high) if high > low else (low, low + 1.0)  # a layer that sees one value only


def _output_range(seen: _Sample, percentile: float, symmetric: bool) -> tuple[float, float]:
    low, high = seen.span(percentile)
    if symmetric:
        high = max(abs(low), abs(high))
        low = -high
    return (low, high) if high > low else (low - 1.0, high + 1.0)
