"""Description of a crossbar target in words, and the calibrated converter ranges of a comparison's models."""

from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.config.ranges import LayerRanges
from aimc_robust.targets.crossbar_options import time_label
from aimc_robust.targets.target import Target

Range = tuple[float, float]


def describe_target(target: Target) -> str:
    """Describe a crossbar target in one sentence: mapping, window, arrays, converters, errors, time, compensation.

    Args:
        target: A target whose condition is a crossbar.

    Returns:
        The settings, separated by commas; those at their defaults are left out.
    """
    crossbar, deployment = target.condition, target.deployment
    assert isinstance(crossbar, Crossbar)
    low, high = crossbar.device.programming_window
    parts = [
        f"{crossbar.weights.mapping.description} mapping",
        f"window {low:g} to {high:g} {crossbar.device.cell.unit}",
    ]
    if crossbar.weights.cell_bits:
        parts.append(f"{crossbar.weights.cell_bits} bits per cell")
    if crossbar.weights.weight_percentile < 1:
        parts.append(f"weights clipped at the {crossbar.weights.weight_percentile:g} quantile")
    if crossbar.weights.scaling == "column":
        parts.append("one scale per output column")
    if crossbar.arrays.bias_rows:
        parts.append(f"biases in {crossbar.arrays.bias_rows} rows")
    if crossbar.arrays.rows or crossbar.arrays.columns:
        parts.append(
            f"arrays of at most {crossbar.arrays.rows or 'any'} rows and {crossbar.arrays.columns or 'any'} columns"
        )
    parts += _converters(crossbar)
    if crossbar.device.cell.has_read_noise:
        parts.append("read noise at every matrix-vector multiply" if crossbar.device.read_noise else "read noise off")
    parts += [f"{name} off" for name in ("programming error", "drift") if not getattr(crossbar.device, name.split()[0])]
    if crossbar.device.error_scale != 1:
        parts.append(f"programming error scaled by {crossbar.device.error_scale:g}")
    if crossbar.device.stuck is not None:
        parts.append(
            f"{100 * crossbar.device.stuck[0]:g} % of cells stuck low, {100 * crossbar.device.stuck[1]:g} % stuck high"
        )
    parts.append(f"{time_label(target.time_s)} after programming" if target.time_s else "right after programming")
    if deployment.backend != "native":
        parts.append(f"backend {deployment.backend}")
    if crossbar.crosssim:
        parts.append(f"CrossSim parameters {dict(crossbar.crosssim)}")
    if deployment.compensation:
        names = {"drift": "global drift compensation", "batchnorm": "BatchNorm recalibrated on the chip"}
        parts.append("with " + " and ".join(names[name] for name in deployment.compensation))
    text = ", ".join(parts)
    return text[0].upper() + text[1:]


def _converters(crossbar: Crossbar) -> list[str]:
    parts = []
    if crossbar.periphery.dac is not None:
        bits = f"{crossbar.periphery.dac.bits}-bit " if crossbar.periphery.dac.kind != "ideal" else ""
        sliced = (
            f", {crossbar.periphery.dac.slice_bits} bits per input slice" if crossbar.periphery.dac.slice_bits else ""
        )
        scale = (
            "" if crossbar.periphery.dac.full_scale is None else f", full scale {crossbar.periphery.dac.full_scale:g}"
        )
        parts.append(f"{bits}{crossbar.periphery.dac.kind} DAC{scale}{sliced}")
    if crossbar.periphery.adc is not None:
        adc_range = crossbar.periphery.adc.range
        range_text = adc_range if isinstance(adc_range, str) else f"{adc_range[0]:g} to {adc_range[1]:g}"
        sliced = " per input slice" if crossbar.periphery.adc.per_slice else ""
        parts.append(f"{crossbar.periphery.adc.bits}-bit {crossbar.periphery.adc.kind} ADC, {range_text} range{sliced}")
    return parts


def widest_ranges(results: ComparisonResults, target: Target) -> dict[str, tuple[Range, list[Range]]]:
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
