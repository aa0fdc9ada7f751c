"""A crossbar target in words, and the converter ranges that its models were given."""

from aimc_robust.devices.std import has_read_noise
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.config.mapping import BitSliced
from aimc_robust.hardware.config.ranges import LayerRanges
from aimc_robust.targets.crossbar_options import time_label
from aimc_robust.targets.target import Target

Range = tuple[float, float]


def setup(target: Target) -> str:
    """One sentence: mapping, window, arrays, converters, read noise, time, backend, compensation."""
    crossbar, how = target.condition, target.deployment
    assert isinstance(crossbar, Crossbar)
    low, high = crossbar.programming_window
    parts = [f"{_mapping(crossbar)} mapping", f"window {low:g} to {high:g} {crossbar.card.unit}"]
    if crossbar.cell_bits:
        parts.append(f"{crossbar.cell_bits} bits per cell")
    if crossbar.weight_percentile < 1:
        parts.append(f"weights clipped at the {crossbar.weight_percentile:g} quantile")
    if crossbar.scaling == "column":
        parts.append("a scale per output column")
    if crossbar.bias_rows:
        parts.append(f"biases in {crossbar.bias_rows} rows")
    if crossbar.rows or crossbar.columns:
        parts.append(f"arrays of at most {crossbar.rows or 'any'} rows and {crossbar.columns or 'any'} columns")
    parts += _converters(crossbar)
    if has_read_noise(crossbar.card):
        parts.append("read noise at every multiply" if crossbar.read_noise else "read noise left out")
    parts += [f"{name} error left out" for name in ("programming", "drift") if not getattr(crossbar, name)]
    if crossbar.error_scale != 1:
        parts.append(f"programming error times {crossbar.error_scale:g}")
    if crossbar.stuck is not None:
        parts.append(f"{100 * crossbar.stuck[0]:g} % of cells stuck low, {100 * crossbar.stuck[1]:g} % stuck high")
    parts.append(f"{time_label(how.time_s)} after programming" if how.time_s else "right after programming")
    if how.backend != "native":
        parts.append(f"computed by the backend {how.backend}")
    if crossbar.crosssim:
        parts.append(f"with CrossSim's parameters {dict(crossbar.crosssim)}")
    if how.compensation:
        names = {"drift": "global drift compensation", "batchnorm": "BatchNorm recalibrated on the chip"}
        parts.append("with " + " and ".join(names[name] for name in how.compensation))
    text = ", ".join(parts)
    return text[0].upper() + text[1:]


def _mapping(crossbar: Crossbar) -> str:
    mapped = crossbar.mapping_object
    if isinstance(mapped, BitSliced):
        return f"bit-sliced ({mapped.weight_bits} bits in {mapped.slices} slices)"
    return str(crossbar.mapping)


def _converters(crossbar: Crossbar) -> list[str]:
    parts = []
    if crossbar.dac is not None:
        bits = f"{crossbar.dac.bits}-bit " if crossbar.dac.kind != "ideal" else ""
        sliced = f", {crossbar.dac.slice_bits} bits at a time" if crossbar.dac.slice_bits else ""
        scale = "" if crossbar.dac.full_scale is None else f", full scale {crossbar.dac.full_scale:g}"
        parts.append(f"{bits}{crossbar.dac.kind} DAC{scale}{sliced}")
    if crossbar.adc is not None:
        given = crossbar.adc.range
        given = given if isinstance(given, str) else f"{given[0]:g} to {given[1]:g}"
        sliced = " per input slice" if crossbar.adc.per_slice else ""
        parts.append(f"{crossbar.adc.bits}-bit {crossbar.adc.kind} ADC, {given} range{sliced}")
    return parts


def widest_ranges(store: ComparisonResults, target: Target) -> dict[str, tuple[Range, list[Range]]]:
    """Layer -> (inputs, outputs of each weight slice): least low and greatest high over the models found so far."""
    found = [ranges for cell in store.cells if (ranges := store.ranges(cell, target.name)) is not None]
    if not found:
        return {}
    return {name: _widest([ranges[name] for ranges in found if name in ranges]) for name in found[0]}


def _widest(layers: list[LayerRanges]) -> tuple[Range, list[Range]]:
    inputs = _span([layer.inputs for layer in layers])
    return inputs, [_span([layer.outputs[i] for layer in layers]) for i in range(len(layers[0].outputs))]


def _span(ranges: list[Range]) -> Range:
    return min(low for low, _ in ranges), max(high for _, high in ranges)
