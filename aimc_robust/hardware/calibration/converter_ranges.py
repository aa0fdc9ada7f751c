"""Find each layer's converter ranges from data."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from aimc_robust.data.batches import input_batches
from aimc_robust.errors import InputError, require_finite, require_type, unknown_name
from aimc_robust.hardware.calibration.range_ends import input_range, output_range
from aimc_robust.hardware.config.converters import MAX_BITS
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.config.deployment import Deployment
from aimc_robust.hardware.config.ranges import ConverterRanges, LayerRanges
from aimc_robust.hardware.conversion.batchnorm_folding import FoldedNorm
from aimc_robust.hardware.conversion.prepare import prepare
from aimc_robust.hardware.conversion.replace_layers import install_arrays
from aimc_robust.hardware.layers.array_layer import ArrayLayer
from aimc_robust.hardware.layers.input_stage import Observer
from aimc_robust.hardware.programming.programmed_matrix import Chip
from aimc_robust.noise.analog_weights import analog_weights
from aimc_robust.seeding import Axes
from aimc_robust.tasks.calling import call_model
from aimc_robust.tasks.registry import TaskLike

FOLDED, FOLD = "folded BatchNorms", "fold"
# Largest sample of each layer's values: dozens of them lie beyond a percentile of 0.9999.
MAX_SAMPLE = 2**19


def calibrate(
    model: nn.Module,
    crossbar: Crossbar,
    batches: Iterable[Any],
    *,
    percentile: float = 0.9999,
    fold: bool = True,
    task: TaskLike = None,
) -> ConverterRanges:
    """Find the converter ranges of a model's layers from data, on a chip without errors.

    A first pass observes each layer's inputs, a second pass the column currents that its ADCs see behind the DACs. A
    range spans the quantiles 1 - percentile and percentile of its values (percentile 1: all of them). The lower end
    of an input range is 0 if no input was negative; the range of a sign-magnitude ADC is symmetric.

    Args:
        model: The trained model; not modified.
        crossbar: The crossbar whose converters are calibrated.
        batches: Inputs, or labelled batches whose labels are not used, see `tasks.batches.unlabelled`.
        percentile: Quantile, 0.5 to 1.
        fold: Whether BatchNorms are folded; as in the `Deployment` that the ranges are for.
        task: The task that unpacks the batches, where they are of another kind.

    Returns:
        The ranges, to be passed as `Deployment(ranges=...)`. A layer that the model does not call has none, and raises
        an error if it is called later.

    Raises:
        DataError: if there are no inputs, or they are of another kind.
        InputError: if another argument is invalid, or values are not finite.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 2))
        >>> crossbar = Crossbar("ideal", dac=DAC(bits=8), adc=ADC(bits=8))  # doctest: +SKIP
        >>> ranges = calibrate(model, crossbar, [torch.rand(32, 4)])  # doctest: +SKIP
        >>> on_chip = program(model, crossbar, deployment=Deployment(ranges=ranges))  # doctest: +SKIP
    """
    require_finite("percentile", percentile, low=0.5, high=1.0)
    require_type("crossbar", crossbar, Crossbar, example="a Crossbar such as Crossbar('rram-wan2022')")
    inputs = input_batches(batches, task)
    require_type("fold", fold, bool, example="True or False")
    prepared, _ = prepare(model, lambda: inputs[0], fold=fold)
    found_with = {**_settings(crossbar), FOLDED: _folded(prepared), FOLD: fold}
    error_free = crossbar.replace(error_scale=0.0, stuck=(0.0, 0.0), read_noise=False)
    samples = _observe(prepared, error_free, inputs, "input")
    ranges = {name: LayerRanges(inputs=input_range(*parts, percentile=percentile)) for name, parts in samples.items()}
    adc = crossbar.periphery.adc
    if adc is None or not adc.needs_calibration:
        return ConverterRanges(ranges, found_with=found_with)
    currents = _observe(prepared, error_free, inputs, "current", ranges)
    symmetric = adc.kind == "sign-magnitude"
    outputs = {
        name: tuple(output_range(sample, percentile, symmetric) for sample in banks) for name, banks in currents.items()
    }
    both = {name: replace(layer, outputs=outputs[name]) for name, layer in ranges.items()}
    return ConverterRanges(both, found_with=found_with)


def check_ranges(
    ranges: Mapping[str, LayerRanges],
    prepared: nn.Module,
    crossbar: Crossbar,
    *,
    fold: bool = True,
    folded: Collection[str] | None = None,
) -> None:
    """Check that converter ranges belong to a model, prepared with `fold`, and, if it needs any, to a crossbar.

    `folded` names the BatchNorms that are folded; None: those of `prepared`.

    Raises:
        UnknownNameError: if they name a layer that the model does not have.
        InputError: if `calibrate` found them with other BatchNorms folded, or for other arrays or converters. Errors
            and rounding of the weights, and a converter that is off or an ADC of other resolution do not matter.
    """
    layers = {weight.layer for weight in analog_weights(prepared, include_shared=True).values()}
    for name in ranges:
        if name not in layers:
            raise unknown_name("layer of the converter ranges", name, layers, advice="Calibrate this very model.")
    if not isinstance(ranges, ConverterRanges) or not ranges.found_with or not crossbar.periphery.needs_calibration:
        return
    if set(ranges.found_with[FOLDED]) != (_folded(prepared) if folded is None else set(folded)):  # type: ignore[call-overload]
        if ranges.found_with[FOLD] != fold:
            raise InputError(
                f"the converter ranges were found with fold={not fold}, but the deployment has fold={fold}; "
                f"pass calibrate(..., fold={fold})."
            )
        raise InputError(
            "the converter ranges were found with other BatchNorms folded, because the model can be folded by a run "
            "on data alone; pass program(..., example=) an input of the model."
        )
    for option, value in _settings(crossbar).items():
        found = ranges.found_with[option]
        if value is not None and found not in (value, repr(value)):
            text = found if isinstance(ranges.found_with[FOLDED], list) else repr(found)  # see `settings_text`
            raise InputError(
                f"the converter ranges were found for a crossbar with {option} {text}, but this one has {value!r}; "
                "calibrate the model with this crossbar."
            )


def fits(ranges: ConverterRanges, model: nn.Module, crossbar: Crossbar, *, fold: bool) -> bool:
    """Return whether ranges, which say where they were found, are those of all layers of a model on a crossbar."""
    prepared, _ = prepare(model, fold=fold, strict=False)
    layers = {weight.layer for weight in analog_weights(prepared, include_shared=True).values()}
    try:
        check_ranges(ranges, prepared, crossbar, fold=fold)
    except InputError:
        return False
    return layers == set(ranges)


def settings_text(crossbar: Crossbar, *, fold: bool, folded: Collection[str]) -> dict[str, Any]:
    """Return `found_with` of ranges as plain values, which `check_ranges` compares too."""
    return {option: repr(value) for option, value in _settings(crossbar).items()} | {FOLDED: sorted(folded), FOLD: fold}


def _folded(prepared: nn.Module) -> set[str]:
    return {name for name, module in prepared.named_modules() if isinstance(module, FoldedNorm)}


def _settings(crossbar: Crossbar) -> dict[str, object]:
    """What a crossbar's ranges depend on, by name; None for a converter that is off."""
    dac, adc, (low, high) = crossbar.periphery.dac, crossbar.periphery.adc, crossbar.device.programming_window
    mapping = crossbar.weights.mapping
    return {
        "mapping": type(mapping) if type(mapping).__eq__ is object.__eq__ else mapping,
        "scaling": crossbar.weights.scaling,
        "weight_percentile": crossbar.weights.weight_percentile if crossbar.weights.weight_percentile < 1.0 else None,
        "window (min / max)": low / high,
        "rows": crossbar.arrays.rows,
        "bias_rows": crossbar.arrays.bias_rows,
        "full scale of the DAC": (dac and dac.full_scale) or "calibrated",
        "dac": dac if dac is not None and dac.kind != "ideal" else None,
        "adc (of any resolution)": adc and replace(adc, bits=MAX_BITS),
    }


def calibrate_deployment(
    model: nn.Module, crossbar: Crossbar, deployment: Deployment, batches: Sequence[Tensor]
) -> Deployment:
    """Return the deployment with converter ranges, if the crossbar needs them, and data for compensation."""
    needs_ranges = crossbar.periphery.needs_calibration
    ranges = calibrate(model, crossbar, batches, fold=deployment.fold) if needs_ranges else None
    return replace(deployment, ranges=ranges, data=batches)


class _Sample:
    """The extremes of the values at one point of a layer, and a random sample of them for quantiles."""

    def __init__(self) -> None:
        self.low, self.high = float("inf"), float("-inf")
        self._generator = torch.Generator().manual_seed(0)
        self._rate, self._values = 1.0, torch.empty(0)

    def add(self, values: Tensor) -> None:
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
def _observe(
    model: nn.Module,
    crossbar: Crossbar,
    inputs: list[Any],
    quantity: Literal["input", "current"],
    ranges: dict[str, LayerRanges] | None = None,
) -> dict[str, list[_Sample]]:
    """Run all inputs of a prepared model.

    Returns layer -> samples of each bank's currents, or of the inputs and the bias rows' input.
    """
    analog = install_arrays(copy.deepcopy(model), crossbar, Chip(axes=Axes(0)), ranges)
    layers = {module.name: module for module in analog.modules() if isinstance(module, ArrayLayer)}
    samples: dict[str, list[_Sample]] = {name: [] for name in layers}

    def observer(name: str) -> Observer:
        def record(kind: str, index: int, values: Tensor) -> None:
            if kind == quantity:
                while len(samples[name]) <= index:
                    samples[name].append(_Sample())
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
