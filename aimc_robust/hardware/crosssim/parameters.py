"""Translate a crossbar to the parameters of CrossSim 3.2 (BSD-3, sandialabs/cross-sim), as a nested dict.

CrossSim need not be installed. Where it is, `CrossSimParameters(**crosssim_parameters(crossbar))` creates its object.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping as Table
from typing import Any

from aimc_robust.errors import InputError
from aimc_robust.hardware.config.converters import ADC
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.config.ranges import LayerRanges, missing_ranges
from aimc_robust.hardware.config.standard_mappings import BitSliced, Offset, OneSided, TwoSided
from aimc_robust.hardware.crosssim.devices import device_parameters
from aimc_robust.hardware.crosssim.extra_parameters import add_extra, check_circuit

# Largest error of a device's voltage, relative to the input's full scale; CrossSim's default is 1e-3.
SOLVER_ACCURACY = 1e-5


def crosssim_parameters(
    crossbar: Crossbar,
    *,
    layer: LayerRanges | None = None,
    time_s: float = 0.0,
    extra: Table[str, Any] | None = None,
) -> dict[str, Any]:
    """Translate a crossbar to CrossSim's parameters for one layer: nested numbers, strings and lists; enums by name.

    Bias rows are not a parameter of CrossSim: they are rows of the matrix.

    Args:
        crossbar: Crossbar to translate.
        layer: Calibrated converter ranges of the layer, if the crossbar needs them.
        time_s: Time since programming [s].
        extra: Additional CrossSim parameters, such as {"xbar": {"array": {"parasitics": {...}}}}, merged last, after
            `crossbar.crosssim`.

    Raises:
        InputError: if CrossSim cannot express the crossbar.
        UnknownNameError: if CrossSim is installed and has no parameter of this name.
    """
    if crossbar.weights.scaling != "layer":
        raise InputError(
            f"scaling {crossbar.weights.scaling!r}: CrossSim has one weight limit per layer. Use scaling='layer', or "
            "the native backend."
        )
    _check_edge(crossbar)
    tree: dict[str, Any] = {
        "core": {
            **_style(crossbar),
            "rows_max": crossbar.arrays.rows,
            "cols_max": crossbar.arrays.columns,
            "mapping": {
                "weights": {
                    "clipping": True,
                    "min": None,
                    "max": None,
                    "percentile": crossbar.weights.weight_percentile,
                },
                "inputs": {"mvm": _inputs(crossbar, layer)},
            },
        },
        "xbar": {
            "device": device_parameters(crossbar, time_s=time_s),
            "dac": {"mvm": _dac(crossbar, layer)},
            "adc": {"mvm": _adc(crossbar, layer)},
        },
    }
    _add_wires(tree, crossbar)
    for additional in (crossbar.crosssim, extra):
        add_extra(tree, additional or {}, relative=crossbar.device.cell.state_kind == "relative")
    for pair in (tree["core"]["mapping"]["inputs"], tree["xbar"]["dac"], tree["xbar"]["adc"]):
        pair["vmm"] = copy.deepcopy(pair["mvm"])  # CrossSim requires equal values
    return tree


def _check_edge(crossbar: Crossbar) -> None:
    """Raise InputError for noise and errors at the arrays' edge, which CrossSim has in its own circuits only."""
    periphery = crossbar.periphery
    dac, adc = periphery.dac, periphery.adc
    options = {
        "output_noise": periphery.output_noise > 0,
        "noise of the DAC": periphery.dac_noise > 0,
        "errors of the ADC (gain_error, offset_error, inl)": adc is not None and adc.has_errors,
        "an ADC that clips without rounding (bits=0)": adc is not None and not adc.bits,
        "a DAC that clips without rounding (bits=0)": dac is not None and not dac.bits and dac.kind != "ideal",
    }
    for option, is_on in options.items():
        if is_on:
            raise InputError(
                f"CrossSim has no counterpart of {option}; use the native backend, or set the parameters of one of "
                "CrossSim's own ADC circuits through the crossbar's option `crosssim`."
            )


def _style(crossbar: Crossbar) -> dict[str, Any]:
    mapping = crossbar.weights.mapping
    if type(mapping) is BitSliced:
        sliced = {"style": "BALANCED", "num_slices": mapping.slices}
        balanced = {"style": "ONE_SIDED"}
        return {"style": "BITSLICED", "weight_bits": mapping.weight_bits, "bit_sliced": sliced, "balanced": balanced}
    styles = {
        OneSided: {"style": "BALANCED", "balanced": {"style": "ONE_SIDED"}},
        TwoSided: {"style": "BALANCED", "balanced": {"style": "TWO_SIDED"}},
        Offset: {"style": "OFFSET", "offset": {"style": "DIGITAL_OFFSET"}},
    }
    if type(mapping) not in styles:
        raise InputError(f"CrossSim has no mapping like {mapping!r}; use the native backend.")
    return styles[type(mapping)]


def _add_wires(tree: dict[str, Any], crossbar: Crossbar) -> None:
    """Add parasitic resistances, which CrossSim states in ohm beside its `Rmin`, and the accuracy of its solver."""
    parasitics, wires = crossbar.arrays.parasitics, crossbar.wires
    if parasitics is None or wires is None:
        return
    if wires.row_terminal:
        raise InputError(
            "row_terminal_ohm: CrossSim 3.2 adds it to each segment of the first row instead of to the start of every "
            "row. Use row_terminal_ohm=0, or the native backend."
        )
    unit = tree["xbar"]["device"]["Rmin"]
    tree["xbar"]["array"] = {
        "parasitics": {
            "enable": True,
            "Rp_row": wires.row * unit,
            "Rp_col": wires.column * unit,
            "Rp_col_terminal": wires.column_terminal * unit,
        }
    }
    if "balanced" in tree["core"]:
        tree["core"]["balanced"]["interleaved_posneg"] = parasitics.interleaved
    tree["simulation"] = {"Verr_th_mvm": SOLVER_ACCURACY, "hide_convergence_msg": True}
    check_circuit(tree, without_ohms=False)


# Converters -----------------------------------------------------------------------------------------------------------


def _kind(crossbar: Crossbar, layer: LayerRanges | None) -> str:
    """Kind of the DAC; `auto` is resolved by the layer's inputs."""
    if crossbar.periphery.dac is None:
        return "ideal"
    if crossbar.periphery.dac.kind != "auto":
        return crossbar.periphery.dac.kind
    return "sign-magnitude" if _calibrated(crossbar, layer).signed else "unsigned"


def _calibrated(crossbar: Crossbar, layer: LayerRanges | None) -> LayerRanges:
    if layer is None:
        raise missing_ranges(crossbar.periphery.calibrated)
    return layer


def _inputs(crossbar: Crossbar, layer: LayerRanges | None) -> dict[str, float]:
    """Range of the DAC's inputs, which also sets the unit of the ADC's range."""
    if crossbar.periphery.dac is not None and crossbar.periphery.dac.full_scale is not None:
        full_scale = crossbar.periphery.dac.full_scale
    elif layer is not None or crossbar.periphery.needs_calibration:
        full_scale = _calibrated(crossbar, layer).full_scale
    else:
        full_scale = 1.0
    return {"min": 0.0 if _kind(crossbar, layer) == "unsigned" else -full_scale, "max": full_scale}


def _dac(crossbar: Crossbar, layer: LayerRanges | None) -> dict[str, Any]:
    kind, dac = _kind(crossbar, layer), crossbar.periphery.dac
    if dac is None or kind == "ideal":
        return {"model": "IdealDAC", "bits": 0, "signed": True, "input_bitslicing": False}
    model = "SignMagnitudeDAC" if kind == "sign-magnitude" else "QuantizerDAC"
    values = {"model": model, "bits": dac.bits, "signed": kind != "unsigned", "input_bitslicing": dac.slice_bits > 0}
    return values | ({"slice_size": dac.slice_bits} if dac.slice_bits else {})


def _adc(crossbar: Crossbar, layer: LayerRanges | None) -> dict[str, Any]:
    adc = crossbar.periphery.adc
    if adc is None:
        return {"model": "IdealADC", "bits": 0}
    ranges = _output_ranges(crossbar, adc, layer)
    if adc.kind == "sign-magnitude":
        _check_symmetric(crossbar, layer, ranges)
    values = {
        "model": "SignMagnitudeADC" if adc.kind == "sign-magnitude" else "QuantizerADC",
        "bits": adc.bits,
        "adc_per_ibit": adc.per_slice and crossbar.periphery.dac is not None and crossbar.periphery.dac.slice_bits > 0,
        "adc_range_option": "CALIBRATED" if ranges else "MAX",
    }
    sliced = isinstance(crossbar.weights.mapping, BitSliced)
    return values | ({"calibrated_range": ranges if sliced else ranges[0]} if ranges else {})


def _output_ranges(crossbar: Crossbar, adc: ADC, layer: LayerRanges | None) -> list[list[float]]:
    """[low, high] of each weight slice; empty for the worst case, which CrossSim derives from each array's size."""
    banks = crossbar.weights.mapping.banks
    if adc.range == "worst-case":
        return []
    if not isinstance(adc.range, str):
        return [list(adc.range)] * banks
    outputs = _calibrated(crossbar, layer).outputs
    if len(outputs) != banks:
        raise InputError(
            f"the layer's ranges hold {len(outputs)} output ranges; this mapping needs {banks}. Calibrate with it."
        )
    return [list(output) for output in outputs]


def _check_symmetric(crossbar: Crossbar, layer: LayerRanges | None, ranges: list[list[float]]) -> None:
    for low, high in ranges:
        if low != -high:
            raise InputError(
                f"a sign-magnitude ADC in CrossSim needs a range around 0, got {low:g} to {high:g}; use "
                "kind='uniform', or a symmetric range."
            )
    if not ranges and isinstance(crossbar.weights.mapping, Offset) and _kind(crossbar, layer) == "unsigned":
        raise InputError(
            "a sign-magnitude ADC in CrossSim needs a range around 0; the worst case of an offset mapping with "
            "unsigned inputs starts at 0. Use kind='uniform'."
        )
