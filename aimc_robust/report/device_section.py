"""What the pages of comparisons and of evaluations share: the devices, and the environments of the results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from aimc_robust.devices.cell_model import CellModel, Source
from aimc_robust.devices.limits import time_text
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.folder import ResultsFolder
from aimc_robust.hardware.config.converters import ADC, Periphery
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.config.device import Device
from aimc_robust.hardware.config.parasitics import Parasitics
from aimc_robust.hardware.config.placement import Placement
from aimc_robust.hardware.config.ranges import ConverterRanges
from aimc_robust.hardware.config.tiling import ArraySize
from aimc_robust.hardware.config.weight_layout import WeightLayout
from aimc_robust.report.figures.device import device_figure
from aimc_robust.report.mapping_section import array_figures, mapping_sections
from aimc_robust.report.page_model import Block, Figure, Grid, Prose, Section, Table
from aimc_robust.report.terms import COMPENSATIONS
from aimc_robust.targets.target import CrossbarTarget, Target, time_label

Range = tuple[float, float]
LayerSpans = dict[str, tuple[Range, list[Range]]]
"""Layer name -> (input range, output range of each weight slice)."""
RangesOf = Callable[[CrossbarTarget], dict[str, LayerSpans]]
"""Ranges of a target's layers, by how they were found."""


def device_section(
    groups: Sequence[Sequence[CrossbarTarget]],
    results: ResultsFolder[Any],
    ranges: RangesOf = lambda target: {},
    pictures: Callable[[CrossbarTarget], Iterable[Figure]] = lambda target: (),
) -> Section | None:
    """Describe a device for each group of crossbar targets that differ in time only; None without groups.

    `ranges` are the converter ranges of its layers, by how they were found; `pictures` stand below its curve.
    """
    devices = []
    for first, *later in groups:
        folded = [_range_table(how, spans) for how, spans in ranges(first).items()]
        folded += mapping_sections(results.mappings, first.name)
        devices.append(_device([first, *later], list(pictures(first)), folded))
    share, mapped = Prose(f"Analog share: {results.coverage}"), array_figures(results.mappings, groups)
    blocks: list[Block] = [share, *mapped, Grid(devices)]
    return Section("Devices", blocks) if devices else None


def _device(targets: Sequence[CrossbarTarget], pictures: Sequence[Figure], folded: Sequence[Section]) -> Section:
    target = targets[0]
    cell, drift = target.crossbar.device.cell, "it has no drift"
    if cell.drift_limits_s is not None:
        drift = f"its drift from {time_text(cell.drift_limits_s[0])} to {time_text(cell.drift_limits_s[1])}"
    validity = f"The card's fit is valid from {cell.limits[0]:g} to {cell.limits[1]:g} {_unit(cell)}; {drift}."
    figure = Figure(partial(device_figure, target.name, target.crossbar), f"Programming error of {target.name}")
    placement = target.placement
    blocks = [] if placement is None else _placed_layers(target.name, placement)
    description = Prose(f"{cell.description}. {describe_target(targets)}. {validity}")
    made = [description, figure, *pictures, Prose(_source(cell.provenance)), *blocks, *folded]
    return Section(target.name, made, target=target.name)


def _range_table(how: str, spans: LayerSpans) -> Section:
    currents = "array currents [full-on cells]"
    rows = [
        [("layer", layer), ("inputs", _span(inputs)), (currents, "; ".join(map(_span, outputs)))]
        for layer, (inputs, outputs) in spans.items()
    ]
    title = f"Converter ranges, {how} (widest over the models; each model's ranges are in `runs/*/ranges.json`)"
    return Section(title, [Table("Converter ranges", rows)], folded=True)


def _unit(cell: CellModel) -> str:
    """Return the unit of a device's states as it is read after a number."""
    return "of full scale" if cell.unit == "1" else cell.unit


def _placed_layers(name: str, placement: Placement) -> list[Block]:
    """Say where each pattern places layers, and describe the devices that are not the target's own."""
    *patterns, (_, own) = placement.layers  # the last holds the rest
    rows = [
        [("layers", f"`{pattern}`"), ("place", "digital" if crossbar is None else describe_crossbar(crossbar))]
        for pattern, crossbar in patterns
    ]
    blocks: list[Block] = [
        Prose("Layers that are elsewhere; of several patterns that match a layer's name, the first decides."),
        Table(f"Where the layers are: {name}", [*rows, [("layers", "all others"), ("place", "as above")]]),
    ]
    cells = [] if own is None else [own.device.cell]
    for crossbar in placement.crossbars:
        cell = crossbar.device.cell
        if cell not in cells:
            cells.append(cell)
            draw = partial(device_figure, f"{name}-{cell.name}", crossbar)
            blocks += [Figure(draw, f"Programming error of {cell.name}"), Prose(_source(cell.provenance))]
    return blocks


def describe_crossbar(crossbar: Crossbar) -> str:
    """Name the device of a crossbar, and its settings that are not at their defaults."""
    settings = [*_layout(crossbar.weights, crossbar.arrays, crossbar.device), *_converters(crossbar.periphery)]
    settings += _errors(crossbar.device)
    return f"{crossbar.device.cell.name}: {', '.join(settings)}"


def _source(source: Source) -> str:
    doi = source.doi and f"[doi:{source.doi}](https://doi.org/{source.doi})"
    fit = f" Fit: {source.fit}." if source.fit else ""
    return f"Source: {', '.join(filter(None, (source.citation, source.figure, doi)))}.{fit} {source.note}".rstrip()


def _span(ends: tuple[float, float]) -> str:
    return f"{ends[0]:.3g} to {ends[1]:.3g}"


def describe_target(targets: Sequence[CrossbarTarget]) -> str:
    """Describe crossbar targets that differ in time only in one sentence, without settings at their defaults."""
    target = targets[0]
    crossbar, deployment = target.crossbar, target.deployment
    parts = [
        *_layout(crossbar.weights, crossbar.arrays, crossbar.device),
        *_converters(crossbar.periphery),
        *_errors(crossbar.device),
        _times([target.time_s for target in targets]),
    ]
    if deployment.backend != "native":
        parts.append(f"backend {deployment.backend}")
    if crossbar.crosssim:
        parts.append(f"CrossSim parameters {dict(crossbar.crosssim)}")
    if not deployment.fold:
        parts.append("no BatchNorm folded")
    if deployment.compensation:
        parts.append("with " + " and ".join(COMPENSATIONS[name] for name in deployment.compensation))
    text = ", ".join(parts)
    return text[0].upper() + text[1:]


def _times(times_s: Sequence[float]) -> str:
    later = [time_label(time_s) for time_s in sorted(times_s) if time_s]
    start = "right after programming" if 0.0 in times_s else ""
    listed = " and ".join(filter(None, (", ".join(later[:-1]), *later[-1:])))
    if start and later:
        return f"{start} and again {listed} later"
    return start or f"{listed} after programming"


def _layout(weights: WeightLayout, arrays: ArraySize, device: Device) -> list[str]:
    low, high = device.programming_window
    parts = {
        f"{weights.mapping.description} mapping": True,
        f"window {low:g} to {high:g} {_unit(device.cell)}": True,
        f"{weights.cell_bits} bits per cell": weights.cell_bits,
        f"weights clipped at the {weights.weight_percentile:g} quantile": weights.weight_percentile < 1,
        "one scale per output column": weights.scaling == "column",
        f"biases in {arrays.bias_rows} rows": arrays.bias_rows,
        f"arrays of at most {arrays.rows or 'any'} rows and {arrays.columns or 'any'} columns": arrays.rows
        or arrays.columns,
    }
    if arrays.parasitics is not None:
        parts[_parasitics(arrays.parasitics)] = True
    return [text for text, applies in parts.items() if applies]


def _parasitics(parasitics: Parasitics) -> str:
    ohms = {
        "along rows": parasitics.row_ohm,
        "along columns": parasitics.column_ohm,
        "at each row": parasitics.row_terminal_ohm,
        "at each column": parasitics.column_terminal_ohm,
    }
    wires = " and ".join(f"{ohm:g} ohm {place}" for place, ohm in ohms.items() if ohm)
    interleaved = ", devices of both signs in one column" if parasitics.interleaved else ""
    return f"wires of {wires or '0 ohm'}{interleaved}"


def _converters(periphery: Periphery) -> list[str]:
    parts = []
    dac, adc = periphery.dac, periphery.adc
    if dac is not None:
        sliced = f", {dac.slice_bits} bits per input slice" if dac.slice_bits else ""
        scale = "" if dac.full_scale is None else f", full scale {dac.full_scale:g}"
        noise = f", noise {dac.noise:g} of full scale" if dac.noise else ""
        kind = f"{dac.bits}-bit {dac.kind} DAC" if dac.bits else "inputs clipped without rounding"
        parts.append(f"{'ideal DAC' if dac.kind == 'ideal' else kind}{scale}{sliced}{noise}")
    if periphery.output_noise:
        parts.append(f"output noise {periphery.output_noise:g}")
    if adc is not None:
        range_text = adc.range if isinstance(adc.range, str) else f"{adc.range[0]:g} to {adc.range[1]:g}"
        sliced = " per input slice" if adc.per_slice else ""
        kind = f"{adc.bits}-bit {adc.kind} ADC" if adc.bits else "outputs clipped without rounding"
        parts.append(f"{kind}, {range_text} range{sliced}{_adc_errors(adc)}")
    return parts


def _adc_errors(adc: ADC) -> str:
    errors = {"gain": (adc.gain_error, ""), "offset": (adc.offset_error, " of the range")}
    errors["non-linearity"] = (adc.inl, " of the range")
    listed = ", ".join(f"{name} {std:g}{unit}" for name, (std, unit) in errors.items() if std)
    return f", errors per {adc.errors_per} (standard deviations: {listed})" if listed else ""


def _errors(device: Device) -> list[str]:
    low, high = device.stuck_fractions
    has_read_noise, faults = device.cell.has_read_noise, device.fault_map
    parts = {
        "read noise at every matrix-vector multiply": has_read_noise and device.read_noise,
        "read noise off": has_read_noise and not device.read_noise,
        "programming error off": not device.programming,
        "drift off": not device.drift,
        f"programming error scaled by {device.error_scale:g}": device.error_scale != 1,
        f"{100 * low:g} % of cells stuck low, {100 * high:g} % stuck high": isinstance(device.stuck, tuple),
        f"{faults.stuck_devices if faults else 0} known stuck devices": faults is not None,
    }
    return [text for text, applies in parts.items() if applies]


def widest_ranges(results: ComparisonResults, target: Target) -> dict[str, LayerSpans]:
    """Return the widest converter ranges of each layer over the trained models of a comparison, by how they were found.

    Each is from the lowest low to the highest high over the models that have ranges so far; empty if there are none.
    """
    found: dict[str, list[ConverterRanges]] = {}
    for trial in results.trials:
        if (ranges := results.ranges(trial, target.name)) is not None:
            how = "calibrated on training data"
            if "ranges" in results.spec.method_table(trial.model):
                how = "learned in training, or calibrated where the converters are not those of the training"
            found.setdefault(how, []).append(ranges)
    return {how: _widest(ranges) for how, ranges in found.items()}


def _widest(found: Sequence[ConverterRanges]) -> LayerSpans:
    spans: LayerSpans = {}
    for name in dict.fromkeys(name for ranges in found for name in ranges):
        layers = [ranges[name] for ranges in found if name in ranges]
        parts = zip(*([layer.inputs, *layer.outputs] for layer in layers), strict=True)
        inputs, *outputs = [(min(low for low, _ in part), max(high for _, high in part)) for part in parts]
        spans[name] = inputs, outputs
    return spans


def environment_notes(environments: Sequence[Mapping[str, Any]]) -> list[Prose]:
    """Return a note for each environment that produced results: versions and threads."""
    texts = [", ".join(f"{k} {v}" for k, v in environment.items() if v is not None) for environment in environments]
    return [Prose(f"Environment {i}: {text}" if len(texts) > 1 else text) for i, text in enumerate(texts, start=1)]
