"""Find each layer's converter ranges from data."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from aimc_robust.data.batches import input_batches
from aimc_robust.errors import InputError, require_finite, require_type, unknown_name
from aimc_robust.float32_convolutions import float32_convolutions
from aimc_robust.hardware.calibration.observation import observe
from aimc_robust.hardware.calibration.range_ends import input_range, output_range
from aimc_robust.hardware.config.converters import ADC, MAX_BITS
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.config.deployment import Deployment
from aimc_robust.hardware.config.placement import Hardware, Layers, place, stored_weights
from aimc_robust.hardware.config.ranges import FOLD, FOLDED, LAYERS, ConverterRanges, LayerRanges
from aimc_robust.hardware.conversion.batchnorm_folding import FoldedNorm
from aimc_robust.hardware.conversion.prepare import prepare
from aimc_robust.noise.analog_weights import analog_weights
from aimc_robust.tasks.registry import TaskLike


@float32_convolutions()
def calibrate(
    model: nn.Module,
    crossbar: Hardware,
    batches: Iterable[Any],
    *,
    layers: Layers | None = None,
    percentile: float = 0.9999,
    fold: bool = True,
    task: TaskLike = None,
) -> ConverterRanges:
    """Find the converter ranges of a model's layers from data, on a chip without errors.

    A first pass observes each layer's inputs, a second pass the column currents that its ADCs see behind the DACs. A
    range spans the quantiles 1 - percentile and percentile of its values (percentile 1: all of them), whatever their
    batches and order. The lower end of an input range is 0 if no input was negative; the range of a sign-magnitude ADC
    is symmetric. Quantiles of more than 2^19 values at one point err by 0.1 % at most, others are exact.

    Args:
        model: The trained model; not modified.
        crossbar: The crossbar whose converters are calibrated, or a `Placement` on several.
        batches: Inputs, or labelled batches whose labels are not used, see `tasks.batches.unlabelled`.
        layers: Layers that are not on the crossbar, see `program`; a digital one has no range.
        percentile: Quantile, 0.5 to 1.
        fold: Whether BatchNorms are folded; as in the `Deployment` that the ranges are for.
        task: The task that unpacks the batches, where they are of another kind.

    Returns:
        The ranges, to be passed as `Deployment(ranges=...)`. A layer that the model does not call has none, and raises
        an error if it is called later.

    Raises:
        DataError: if there are no inputs, or they are of another kind.
        InputError: if another argument is invalid, or values are not finite.

    Examples:
        >>> model = nn.Sequential(nn.Linear(4, 2))
        >>> crossbar = Crossbar("ideal", dac=DAC(bits=8), adc=ADC(bits=8))  # doctest: +SKIP
        >>> ranges = calibrate(model, crossbar, [torch.rand(32, 4)])  # doctest: +SKIP
        >>> on_chip = program(model, crossbar, deployment=Deployment(ranges=ranges))  # doctest: +SKIP
    """
    require_finite("percentile", percentile, low=0.5, high=1.0)
    hardware = place(crossbar, layers)
    inputs = input_batches(batches, task)
    require_type("fold", fold, bool, example="True or False")
    prepared, _ = prepare(model, lambda: inputs[0], hardware=hardware, fold=fold)
    error_free = hardware.map(error_free_crossbar)
    seen = observe(prepared, error_free, inputs, "input")
    ranges = {name: LayerRanges(inputs=input_range(*parts, percentile=percentile)) for name, parts in seen.items()}
    adcs = {name: adc for name in ranges if (adc := _adc_of(hardware, name)) is not None and adc.needs_calibration}
    currents = observe(prepared, error_free, inputs, "current", ranges) if adcs else {}
    for name, adc in adcs.items():
        symmetric = adc.kind == "sign-magnitude"
        outputs = tuple(output_range(bank, percentile, symmetric) for bank in currents[name])
        ranges[name] = replace(ranges[name], outputs=outputs)
    found_with = settings_of(prepared, hardware, fold=fold, folded=_folded(prepared), layers=ranges)
    return ConverterRanges(ranges, found_with=found_with)


def error_free_crossbar(crossbar: Crossbar) -> Crossbar:
    """Return a crossbar without random errors, which ranges are found on; known stuck devices stay."""
    edge = vars(crossbar.periphery.with_errors(0.0))
    return crossbar.replace(error_scale=0.0, stuck=crossbar.device.fault_map or (0.0, 0.0), read_noise=False, **edge)


def _adc_of(hardware: Hardware, layer: str) -> ADC | None:
    crossbar = hardware.crossbar_of(layer)
    return None if crossbar is None else crossbar.periphery.adc


def check_ranges(
    ranges: Mapping[str, LayerRanges],
    prepared: nn.Module,
    hardware: Hardware,
    *,
    fold: bool = True,
    folded: Collection[str] | None = None,
) -> None:
    """Check that converter ranges belong to a model, prepared with `fold`, and, if it needs any, to a crossbar.

    `folded` names the BatchNorms that are folded; None: those of `prepared`.

    Raises:
        UnknownNameError: if they name a layer that the model does not have.
        InputError: if `calibrate` found them with other BatchNorms folded, for other arrays, converters or known stuck
            devices, or with weights clipped elsewhere. Errors that it leaves out, rounding unless it moves an offset,
            a converter that is off and an ADC of other resolution do not matter.
    """
    layers = {weight.layer for weight in analog_weights(prepared, include_shared=True).values()}
    for name in ranges:
        if name not in layers:
            raise unknown_name("layer of the converter ranges", name, layers, advice="Calibrate this very model.")
    needed = needs_calibration(hardware)
    if not isinstance(ranges, ConverterRanges) or not ranges.found_with or not needed:
        return
    if set(ranges.found_with[FOLDED]) != (_folded(prepared) if folded is None else set(folded)):
        if ranges.found_with[FOLD] != fold:
            raise InputError(
                f"the converter ranges were found with fold={not fold}, but the deployment has fold={fold}; "
                f"pass calibrate(..., fold={fold})."
            )
        raise InputError(
            "the converter ranges were found with other BatchNorms folded, because the model can be folded by a run "
            "on data alone; pass program(..., example=) an input of the model."
        )
    for name, found_with in ranges.found_with[LAYERS].items():
        crossbar = hardware.crossbar_of(name)
        if crossbar is None or not crossbar.periphery.needs_calibration:
            continue
        for option, value in _settings(crossbar).items():
            found = found_with.get(option)
            if value is not None and found != value:
                of_layer = f" of the layer {name!r}" if len(hardware.crossbars) > 1 else ""
                raise InputError(
                    f"the converter ranges{of_layer} were found for a crossbar with {option} {found}, but this one has "
                    f"{value}; calibrate the model with this crossbar."
                )


def needs_calibration(hardware: Hardware) -> bool:
    """Return whether any layer's converters need ranges from `calibrate`."""
    return any(crossbar.periphery.needs_calibration for crossbar in hardware.crossbars)


def fitting(ranges: ConverterRanges, model: nn.Module, hardware: Hardware, *, fold: bool) -> ConverterRanges | None:
    """Return the part of ranges that a crossbar uses; None if they are not those of all its converters.

    The ranges say where they were found. Layers that are digital, and outputs without an ADC that needs a range, are
    left out, as by `calibrate`.
    """
    prepared, _ = prepare(model, hardware=hardware, fold=fold, strict=False)
    try:
        check_ranges(ranges, prepared, hardware, fold=fold)
    except InputError:
        return None
    crossbars = {name: hardware.crossbar_of(name) for name in _stored_layers(prepared, hardware)}
    if any(name not in ranges for name, own in crossbars.items() if own and own.periphery.needs_calibration):
        return None
    used = {}
    for name, layer in ranges.items():
        if crossbars.get(name) is not None:
            adc = _adc_of(hardware, name)
            used[name] = layer if adc is not None and adc.needs_calibration else replace(layer, outputs=())
    return ConverterRanges(used, found_with=ranges.found_with)


def settings_of(
    model: nn.Module,
    hardware: Hardware,
    *,
    fold: bool,
    folded: Collection[str],
    layers: Collection[str] | None = None,
) -> dict[str, Any]:
    """Return `found_with` of ranges, as plain values; `layers`: those that have ranges, None: all of the model."""
    names = _stored_layers(model, hardware) if layers is None else layers
    settings = {name: _settings(own) for name in names if (own := hardware.crossbar_of(name)) is not None}
    return {LAYERS: settings, FOLDED: sorted(folded), FOLD: fold}


def _stored_layers(model: nn.Module, hardware: Hardware) -> list[str]:
    return [weight.layer for weight in stored_weights(model, hardware, include_shared=True).values()]


def _folded(prepared: nn.Module) -> set[str]:
    return {name for name, module in prepared.named_modules() if isinstance(module, FoldedNorm)}


def _settings(crossbar: Crossbar) -> dict[str, str | None]:
    """What a crossbar's ranges depend on, as texts by name; None for a converter that is off."""
    periphery, (low, high) = crossbar.periphery.with_errors(0.0), crossbar.device.programming_window
    dac, adc, wires = periphery.dac, periphery.adc, crossbar.wires
    mapping, cell_bits = crossbar.weights.mapping, crossbar.weights.cell_bits
    incomparable = object.__eq__ is type(mapping).__eq__ or object.__repr__ is type(mapping).__repr__
    faults, parasitics = crossbar.device.fault_map, crossbar.arrays.parasitics
    settings = {
        "mapping": type(mapping) if incomparable else mapping,
        # Rounding alone changes no range, but the levels of an offset mapping move.
        "cell_bits": cell_bits if crossbar.factors != mapping.factors(low / high, 0) else 0,
        "scaling": crossbar.weights.scaling,
        "weight_percentile": crossbar.weights.weight_percentile,
        "window (min / max)": low / high,
        "rows": crossbar.arrays.rows,
        "bias_rows": crossbar.arrays.bias_rows,
        "parasitics (of a device's resistance)": "none" if wires is None else wires,
        "interleaved": parasitics.interleaved if parasitics and wires else None,
        "columns": crossbar.arrays.columns if wires else None,
        "fault map": "none" if faults is None else faults.digest,
        "full scale of the DAC": (dac and dac.full_scale) or "calibrated",
        "dac": dac if dac is not None and dac.kind != "ideal" else None,
        "adc (of any resolution)": adc and replace(adc, bits=MAX_BITS, errors_per="column"),
    }
    return {name: None if value is None else repr(value) for name, value in settings.items()}


def calibrate_deployment(
    model: nn.Module, hardware: Hardware, deployment: Deployment, batches: Sequence[Tensor]
) -> Deployment:
    """Return the deployment with converter ranges, if converters need them, and data for compensation."""
    ranges = calibrate(model, hardware, batches, fold=deployment.fold) if needs_calibration(hardware) else None
    return replace(deployment, ranges=ranges, data=batches)
