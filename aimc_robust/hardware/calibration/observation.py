"""Samples of what converters see while a model runs on data."""

from __future__ import annotations

import copy
from typing import Any, Literal

import torch
from torch import Tensor, nn

from aimc_robust.errors import InputError
from aimc_robust.hardware.config.placement import Hardware
from aimc_robust.hardware.config.ranges import LayerRanges
from aimc_robust.hardware.conversion.replace_layers import install_arrays
from aimc_robust.hardware.layers.array_layer import ArrayLayer
from aimc_robust.hardware.layers.input_stage import Observer
from aimc_robust.hardware.programming.programmed_matrix import Chip
from aimc_robust.seeding import Axes
from aimc_robust.tasks.calling import call_model

# Largest sample of each layer's values: dozens of them lie beyond a percentile of 0.9999.
MAX_SAMPLE = 2**19


class Sample:
    """The extremes of the values at one point of a layer, and a random sample of them for quantiles."""

    def __init__(self) -> None:
        self.low, self.high = float("inf"), float("-inf")
        self._generator = torch.Generator().manual_seed(0)
        self._rate, self._values = 1.0, torch.empty(0)

    def add(self, values: Tensor) -> None:
        """Add values; raise InputError if any is not finite."""
        flat = values.detach().flatten()
        if not torch.isfinite(flat).all():
            raise InputError("calibration met values that are not finite; check the data and the model.")
        self.low, self.high = min(self.low, float(flat.min())), max(self.high, float(flat.max()))
        count = round(len(flat) * self._rate)
        if count < len(flat):  # random, since evenly spaced values would always come from the same columns
            flat = flat[torch.randint(len(flat), (count,), generator=self._generator).to(flat.device)]
        self._values = torch.cat([self._values, flat.float().cpu()])
        while len(self._values) > MAX_SAMPLE:
            self._values = self._values[torch.rand(len(self._values), generator=self._generator) < 0.5]
            self._rate /= 2

    def span(self, percentile: float) -> tuple[float, float]:
        """Return the quantiles 1 - percentile and percentile; for 1 the extremes of all values, sampled or not."""
        if percentile == 1.0:
            return self.low, self.high
        ordered = self._values.sort().values
        last = len(ordered) - 1
        return float(ordered[round((1.0 - percentile) * last)]), float(ordered[round(percentile * last)])


@torch.no_grad()
def observe(
    model: nn.Module,
    hardware: Hardware,
    inputs: list[Any],
    quantity: Literal["input", "current"],
    ranges: dict[str, LayerRanges] | None = None,
) -> dict[str, list[Sample]]:
    """Run all inputs of a prepared model.

    Returns layer -> samples of each bank's currents, or of the inputs and the bias rows' input.
    """
    analog = install_arrays(copy.deepcopy(model), hardware, Chip(axes=Axes(0)), ranges)
    layers = {module.name: module for module in analog.modules() if isinstance(module, ArrayLayer)}
    samples: dict[str, list[Sample]] = {name: [] for name in layers}

    def observer(name: str) -> Observer:
        def record(kind: str, index: int, values: Tensor) -> None:
            if kind == quantity:
                while len(samples[name]) <= index:
                    samples[name].append(Sample())
                samples[name][index].add(values)

        return record

    for name, layer in layers.items():
        layer.observer = observer(name)
    for x in inputs:
        call_model(analog, x)
    called = {name: parts for name, parts in samples.items() if parts}
    if not called:
        raise InputError("calibration saw no input of any layer; the model calls none of them.")
    return called
