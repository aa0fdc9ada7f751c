"""What converters see while a model runs on data."""

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

MAX_EXACT = 2**19
"""Number of values at one point of a layer of which quantiles are exact; of more, they err by 0.1 % at most."""
DROPPED_BITS = 14  # of the 23 of a float32's mantissa, when values are counted
LARGEST = 2 ** (31 - DROPPED_BITS)  # above the rounded bits of any float32 without its sign


class SeenValues:
    """The values at one point of a layer: extremes and quantiles, whatever the order and the batches they came in.

    Up to `MAX_EXACT` values are kept. More are rounded to 9 bits of mantissa and counted.
    """

    def __init__(self) -> None:
        self.low, self.high = float("inf"), float("-inf")
        self._kept = torch.empty(0)
        self._counts: Tensor | None = None

    def add(self, values: Tensor) -> None:
        """Add values; raise InputError if any is not finite."""
        flat = values.detach().flatten()
        if not torch.isfinite(flat).all():
            raise InputError("calibration met values that are not finite; check the data and the model.")
        self.low, self.high = min(self.low, float(flat.min())), max(self.high, float(flat.max()))
        if self._counts is None and len(self._kept) + len(flat) <= MAX_EXACT:
            self._kept = torch.cat([self._kept, flat.float().cpu()])
            return
        if self._counts is None:
            self._counts, self._kept = _counts(self._kept), torch.empty(0)
        for part in flat.split(MAX_EXACT):
            self._counts += _counts(part)

    def span(self, percentile: float) -> tuple[float, float]:
        """Return the quantiles 1 - percentile and percentile; for 1 the extremes of all values."""
        if percentile == 1.0:
            return self.low, self.high
        low, high = self.quantiles([1.0 - percentile, percentile])
        return low, high

    def quantiles(self, shares: list[float]) -> list[float]:
        """Return the quantiles of shares of all values, 0 to 1."""
        if self._counts is None:
            ordered = self._kept.sort().values
            return [float(ordered[round(share * (len(ordered) - 1))]) for share in shares]
        until = self._counts.cumsum(0)
        ranks = torch.tensor([round(share * (int(until[-1]) - 1)) for share in shares])
        values = _values(torch.searchsorted(until, ranks, right=True) - LARGEST)
        return [float(value) for value in values.clamp(self.low, self.high)]

    def share_outside(self, low: float, high: float) -> float:
        """Return the share of values that are below `low` or above `high`, 0 to 1; of many as they are rounded."""
        if self._counts is None:
            outside = (self._kept < low) | (self._kept > high)
            return float(outside.double().mean())
        numbers = torch.arange(1 - LARGEST, LARGEST)
        values = _values(numbers).clamp(self.low, self.high)
        counts = self._counts[1:-1]
        return float(counts[(values < low) | (values > high)].sum() / counts.sum())


def _values(signed: Tensor) -> Tensor:
    """Return the values of the places of `_counts`."""
    return signed.sign() * (signed.abs() << DROPPED_BITS).int().view(torch.float32)


def _counts(values: Tensor) -> Tensor:
    """Count finite values by their bits without sign, rounded, times their sign, from -LARGEST to LARGEST."""
    bits = values.float().view(torch.int32)
    sizes = ((bits & 0x7FFFFFFF) + (1 << (DROPPED_BITS - 1))) >> DROPPED_BITS
    return torch.bincount(torch.where(bits < 0, -sizes, sizes) + LARGEST, minlength=2 * LARGEST + 1).cpu()


@torch.no_grad()
def observe(
    model: nn.Module,
    hardware: Hardware,
    inputs: list[Any],
    quantity: Literal["input", "current"],
    ranges: dict[str, LayerRanges] | None = None,
) -> dict[str, list[SeenValues]]:
    """Run all inputs of a prepared model.

    Returns layer -> the values of each bank's currents, or of the inputs and the bias rows' input.
    """
    analog = install_arrays(copy.deepcopy(model), hardware, Chip(axes=Axes(0)), ranges)
    layers = {module.name: module for module in analog.modules() if isinstance(module, ArrayLayer)}
    seen: dict[str, list[SeenValues]] = {name: [] for name in layers}

    def observer(name: str) -> Observer:
        def record(kind: str, index: int, values: Tensor) -> None:
            if kind == quantity:
                while len(seen[name]) <= index:
                    seen[name].append(SeenValues())
                seen[name][index].add(values)

        return record

    for name, layer in layers.items():
        layer.observer = observer(name)
    for x in inputs:
        call_model(analog, x)
    called = {name: parts for name, parts in seen.items() if parts}
    if not called:
        raise InputError("calibration saw no input of any layer; the model calls none of them.")
    return called
