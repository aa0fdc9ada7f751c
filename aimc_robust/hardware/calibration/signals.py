"""Where the weights, inputs and column currents of each layer lie in the ranges of the converters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd
from torch import nn

from aimc_robust.data.batches import input_batches
from aimc_robust.errors import require_type
from aimc_robust.float32_convolutions import float32_convolutions
from aimc_robust.hardware.calibration.converter_ranges import check_ranges, error_free_crossbar
from aimc_robust.hardware.calibration.observation import SeenValues, observe
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.config.placement import Hardware, Layers, place, stored_weights
from aimc_robust.hardware.config.ranges import ConverterRanges, LayerRanges
from aimc_robust.hardware.config.weight_layout import nonzero
from aimc_robust.hardware.conversion.prepare import prepare
from aimc_robust.tasks.registry import TaskLike

QUANTITIES = ("weight", "input", "current")
QUANTILES = {"q0.01": 0.0001, "q25": 0.25, "median": 0.5, "q75": 0.75, "q99.99": 0.9999}
SIGNAL_COLUMNS = ("layer", "quantity", "bank", "low", "high", "min", *QUANTILES, "max", "outside")


@float32_convolutions()
def converter_signals(
    model: nn.Module,
    crossbar: Hardware,
    batches: Iterable[Any],
    ranges: ConverterRanges,
    *,
    layers: Layers | None = None,
    fold: bool = True,
    task: TaskLike = None,
) -> pd.DataFrame:
    """Return how the values that converters see on data lie in their ranges, on a chip without errors.

    As in `calibrate`, inputs are those of a network that computes exactly, and currents those behind the DACs.

    Args:
        model: The trained model; not modified.
        crossbar: The crossbar whose converters `ranges` are for, or a `Placement` on several.
        batches: Inputs, or labelled batches, as for `calibrate`: other data than it was given shows what is clipped.
        ranges: What `calibrate` returned for this model and crossbar.
        layers: As for `calibrate`.
        fold: As for `calibrate`.
        task: As for `calibrate`.

    Returns:
        A row for each layer and quantity. `quantity`: `weight`, relative to the weight at the end of the window (before
        it is clipped); `input`, in the unit of the layer's inputs, where the layer has DACs with a range; `current`, in
        the unit of `LayerRanges.outputs`, where its ADCs have a calibrated range, of each `bank`. `low`, `high`: the
        range. `min`, `q0.01`, `q25`, `median`, `q75`, `q99.99`, `max`: the extremes and quantiles [percent] of the
        values. `outside`: percentage of values outside of the range, which are clipped.

    Raises:
        DataError: if there are no inputs, or they are of another kind.
        InputError: if an argument is invalid, or the ranges are not those of this model and crossbar.

    Example:
        >>> ranges = calibrate(model, crossbar, batches)  # doctest: +SKIP
        >>> converter_signals(model, crossbar, batches, ranges)  # doctest: +SKIP
    """
    require_type("ranges", ranges, ConverterRanges, example="what calibrate(...) returns")
    hardware = place(crossbar, layers)
    inputs = input_batches(batches, task)
    prepared, _ = prepare(model, lambda: inputs[0], hardware=hardware, fold=fold)
    check_ranges(ranges, prepared, hardware, fold=fold)
    error_free = hardware.map(error_free_crossbar)
    known = dict(ranges)
    seen = observe(prepared, error_free, inputs, "input")
    has_outputs = any(layer.outputs for layer in known.values())
    currents = observe(prepared, error_free, inputs, "current", known) if has_outputs else {}
    rows = []
    for weight in stored_weights(prepared, hardware).values():
        own, matrix = hardware.crossbar_of(weight.layer), weight.filters_first().detach().flatten(1).float()
        assert own is not None
        values = SeenValues()
        values.add(matrix / nonzero(own.weights.weight_limit(matrix, layer=weight.layer)))
        rows.append(_row(weight.layer, "weight", 0, (-1.0, 1.0), values))
        if weight.layer in seen and (span := _input_range(own, known.get(weight.layer))) is not None:
            rows.append(_row(weight.layer, "input", 0, span, seen[weight.layer][0]))
        outputs = known[weight.layer].outputs if weight.layer in known else ()
        for bank, (span, found) in enumerate(zip(outputs, currents.get(weight.layer, ()), strict=False)):
            rows.append(_row(weight.layer, "current", bank, span, found))
    return pd.DataFrame(rows, columns=list(SIGNAL_COLUMNS))


def _input_range(crossbar: Crossbar, ranges: LayerRanges | None) -> tuple[float, float] | None:
    """Return the range of a layer's DACs in the unit of its inputs; None where they clip nothing."""
    dac = crossbar.periphery.dac
    if dac is None or dac.kind == "ideal" or (ranges is None and (dac.full_scale is None or dac.kind == "auto")):
        return None
    full_scale = dac.full_scale if dac.full_scale is not None else ranges.full_scale if ranges else 1.0
    has_sign = dac.kind != "unsigned" if dac.kind != "auto" or ranges is None else ranges.signed
    return (-full_scale if has_sign else 0.0), full_scale


def _row(layer: str, quantity: str, bank: int, span: tuple[float, float], values: SeenValues) -> dict[str, Any]:
    low, high = span
    quantiles = dict(zip(QUANTILES, values.quantiles(list(QUANTILES.values())), strict=True))
    return {
        "layer": layer,
        "quantity": quantity,
        "bank": bank,
        "low": low,
        "high": high,
        "min": values.low,
        **quantiles,
        "max": values.high,
        "outside": 100.0 * values.share_outside(low, high),
    }
