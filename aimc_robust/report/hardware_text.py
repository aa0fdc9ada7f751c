"""Description of a crossbar target in words, and the calibrated converter ranges of a comparison's models."""

from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.hardware.config.converters import Periphery
from aimc_robust.hardware.config.device import Device
from aimc_robust.hardware.config.ranges import LayerRanges
from aimc_robust.hardware.config.tiling import ArraySize
from aimc_robust.hardware.config.weight_layout import WeightLayout
from aimc_robust.targets.target import CrossbarTarget, Target, time_label

Range = tuple[float, float]
LayerSpans = dict[str, tuple[Range, list[Range]]]
"""Layer name -> (input range, output range of each weight slice)."""


def describe_target(target: CrossbarTarget) -> str:
    """Describe a crossbar target in one sentence: mapping, window, arrays, converters, errors, time, compensation.

    Args:
        target: The target.

    Returns:
        The settings, separated by commas; those at their defaults are left out.
    """
    crossbar, deployment = target.crossbar, target.deployment
    names = {"drift": "global drift compensation", "batchnorm": "BatchNorm recalibrated on the chip"}
    parts = [
        *_layout(crossbar.weights, crossbar.arrays, crossbar.device),
        *_converters(crossbar.periphery),
        *_errors(crossbar.device),
        f"{time_label(target.time_s)} after programming" if target.time_s else "right after programming",
    ]
    if deployment.backend != "native":
        parts.append(f"backend {deployment.backend}")
    if crossbar.crosssim:
        parts.append(f"CrossSim parameters {dict(crossbar.crosssim)}")
    if deployment.compensation:
        parts.append("with " + " and ".join(names[name] for name in deployment.compensation))
    text = ", ".join(parts)
    return text[0].upper() + text[1:]


def _layout(weights: WeightLayout, arrays: ArraySize, device: Device) -> list[str]:
    low, high = device.programming_window
    parts = [f"{weights.mapping.description} mapping", f"window {low:g} to {high:g} {device.cell.unit}"]
    if weights.cell_bits:
        parts.append(f"{weights.cell_bits} bits per cell")
    if weights.weight_percentile < 1:
        parts.append(f"weights clipped at the {weights.weight_percentile:g} quantile")
    if weights.scaling == "column":
        parts.append("one scale per output column")
    if arrays.bias_rows:
        parts.append(f"biases in {arrays.bias_rows} rows")
    if arrays.rows or arrays.columns:
        parts.append(f"arrays of at most {arrays.rows or 'any'} rows and {arrays.columns or 'any'} columns")
    return parts


def _converters(periphery: Periphery) -> list[str]:
    parts = []
    dac, adc = periphery.dac, periphery.adc
    if dac is not None:
        bits = f"{dac.bits}-bit " if dac.kind != "ideal" else ""
        sliced = f", {dac.slice_bits} bits per input slice" if dac.slice_bits else ""
        scale = "" if dac.full_scale is None else f", full scale {dac.full_scale:g}"
        parts.append(f"{bits}{dac.kind} DAC{scale}{sliced}")
    if adc is not None:
        range_text = adc.range if isinstance(adc.range, str) else f"{adc.range[0]:g} to {adc.range[1]:g}"
        sliced = " per input slice" if adc.per_slice else ""
        parts.append(f"{adc.bits}-bit {adc.kind} ADC, {range_text} range{sliced}")
    return parts


def _errors(device: Device) -> list[str]:
    parts = []
    if device.cell.has_read_noise:
        parts.append("read noise at every matrix-vector multiply" if device.read_noise else "read noise off")
    if not device.programming:
        parts.append("programming error off")
    if not device.drift:
        parts.append("drift off")
    if device.error_scale != 1:
        parts.append(f"programming error scaled by {device.error_scale:g}")
    if device.stuck is not None:
        low, high = device.stuck
        parts.append(f"{100 * low:g} % of cells stuck low, {100 * high:g} % stuck high")
    return parts


def widest_ranges(results: ComparisonResults, target: Target) -> LayerSpans:
    """Return the widest converter ranges of each layer over the trained models of a comparison.

    Args:
        results: The comparison.
        target: A target with calibrated converters.

    Returns:
        Layer name -> (input range, output range of each weight slice), each from the lowest low to the highest high
        over the models calibrated so far; empty if there are none.
    """
    calibrated = [ranges for trial in results.trials if (ranges := results.ranges(trial, target.name)) is not None]
    if not calibrated:
        return {}
    return {name: _widest([ranges[name] for ranges in calibrated if name in ranges]) for name in calibrated[0]}


def _widest(layers: list[LayerRanges]) -> tuple[Range, list[Range]]:
    inputs = _span([layer.inputs for layer in layers])
    return inputs, [_span([layer.outputs[i] for layer in layers]) for i in range(len(layers[0].outputs))]


def _span(ranges: list[Range]) -> Range:
    return min(low for low, _ in ranges), max(high for _, high in ranges)
