"""Find each layer's converter ranges from data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from aimc_robust.errors import InputError, require_finite
from aimc_robust.hardware.arrays import ArrayLayer
from aimc_robust.hardware.crossbar import Crossbar
from aimc_robust.hardware.install import install_arrays
from aimc_robust.hardware.matrix import Chip
from aimc_robust.hardware.prepare import prepare
from aimc_robust.hardware.ranges import LayerRanges
from aimc_robust.seeding import Axes

# Values kept per layer and batch for the quantile: enough for a percentile of 0.9999, little beside the activations.
KEPT = 2**18


def calibrate(model: nn.Module, crossbar: Crossbar, batches: Iterable[Any], *, percentile: float = 0.9999) -> Crossbar:
    """`crossbar` with the converter ranges of `model`'s layers, found from data on a chip without errors.

    A first pass finds each layer's inputs, a second one the column currents that its ADCs would see behind the DACs.
    A range spans the quantiles 1 - percentile and percentile of its values (percentile 1: all of them); the inputs'
    keeps its lower end at 0 where no input was negative, and a sign-magnitude ADC's is made symmetric.

    batches: inputs, or (inputs, labels) pairs whose labels are not used. Raises InputError when there are none or
    when a layer never runs.
    """
    require_finite("percentile", percentile, low=0.5, high=1.0)
    inputs = [batch[0] if isinstance(batch, list | tuple) else batch for batch in batches]
    if not inputs or any(len(x) == 0 for x in inputs):
        raise InputError("calibration needs at least one batch with at least one input, got none.")
    exact = replace(crossbar, error_scale=0.0, stuck=(0.0, 0.0), read_noise=False, ranges=None)
    values = _observed(model, exact, inputs, "input")
    ranges = {name: LayerRanges(inputs=_input_range(*parts, percentile=percentile)) for name, parts in values.items()}
    if crossbar.adc is None or not crossbar.adc.needs_calibration:
        return replace(crossbar, ranges=ranges)
    currents = _observed(model, replace(exact, ranges=ranges), inputs, "current")
    symmetric = crossbar.adc.kind == "sign-magnitude"
    return replace(
        crossbar,
        ranges={
            name: replace(
                layer, outputs=tuple(_output_range(values, percentile, symmetric) for values in currents[name])
            )
            for name, layer in ranges.items()
        },
    )


@torch.no_grad()
def _observed(model: nn.Module, crossbar: Crossbar, inputs: list[Any], what: str) -> dict[str, list[Tensor]]:
    """Layer -> values of `what` seen over all inputs, for each bank."""
    analog = install_arrays(prepare(model)[0], crossbar, Chip(axes=Axes(0)))
    layers = {module.name: module for module in analog.modules() if isinstance(module, ArrayLayer)}
    seen: dict[str, list[list[Tensor]]] = {name: [] for name in layers}

    def observer(name: str) -> Any:
        def note(kind: str, bank: int, values: Tensor) -> None:
            if kind == what:
                while len(seen[name]) <= bank:
                    seen[name].append([])
                flat = values.detach().flatten()
                ends = torch.stack(torch.aminmax(flat))
                seen[name][bank].append(torch.cat([ends, flat[:: max(1, flat.numel() // KEPT)]]))

        return note

    for name, layer in layers.items():
        layer.observer = observer(name)
    for x in inputs:
        analog(x)
    idle = [name for name, banks in seen.items() if not banks]
    if idle:
        raise InputError(f"calibration saw no input of the layers {', '.join(idle)}; the model never calls them.")
    return {name: [torch.cat(parts) for parts in banks] for name, banks in seen.items()}


def _input_range(values: Tensor, *biases: Tensor, percentile: float) -> tuple[float, float]:
    """Range of a layer's inputs; what drives its bias rows, where there are some, is never clipped."""
    if not torch.isfinite(values).all():
        raise InputError("calibration met inputs of a layer that are not finite; check the data and the model.")
    low, high = _quantiles(values, percentile)
    if float(values.min()) >= 0:
        low = 0.0
    high = max([high, *(float(one.max()) for one in biases)])
    return (low, high) if high > low else (low, low + 1.0)  # a layer that sees one value only


def _output_range(values: Tensor, percentile: float, symmetric: bool) -> tuple[float, float]:
    low, high = _quantiles(values, percentile)
    if symmetric:
        high = max(abs(low), abs(high))
        low = -high
    return (low, high) if high > low else (low - 1.0, high + 1.0)


def _quantiles(values: Tensor, percentile: float) -> tuple[float, float]:
    ordered = values.float().sort().values
    last = len(ordered) - 1
    return float(ordered[round((1.0 - percentile) * last)]), float(ordered[round(percentile * last)])
