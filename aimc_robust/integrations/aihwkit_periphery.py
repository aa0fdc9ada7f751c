"""Converters and noise at the edge of the arrays, from the settings of an `RPUConfig`."""

from __future__ import annotations

from typing import Any

from aimc_robust.errors import InputError
from aimc_robust.hardware.config.converters import ADC, DAC, MAX_BITS
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.integrations.aihwkit_settings import SettingsReader

IS_DYNAMIC = "a scale for each input vector (here inputs have their layer's range)"


def periphery_options(reader: SettingsReader, crossbar: Crossbar) -> dict[str, Any]:
    """Return the options `dac`, `adc` and `output_noise` of a crossbar; what has no counterpart is noted."""
    adc, noise = _adc(reader, crossbar), _output_noise(reader, crossbar)
    return {"dac": _dac(reader, sets_unit=adc is not None or noise > 0), "adc": adc, "output_noise": noise}


def _dac(reader: SettingsReader, *, sets_unit: bool) -> DAC | None:
    """Return the DAC; `sets_unit`: whether its full scale is the unit of an ADC's range, or of noise."""
    bits, noise = reader.bits("forward.inp_res"), reader.number("forward.inp_noise")
    ranges, management = "pre_post.input_range", reader.word("forward.noise_management")
    has_range, is_dynamic = reader.flag(f"{ranges}.enable"), reader.flag(f"{ranges}.dynamic")
    bound = reader.number("forward.inp_bound", 1.0 if has_range else 0.0)
    scale = 1.0  # of the inputs before they are bounded
    if management == "constant":
        scale = reader.number("forward.nm_thres") or 1.0
    elif management != "none" or is_dynamic:
        if bits or noise or sets_unit:
            name = f"{ranges}.dynamic" if management == "none" else "forward.noise_management"
            reader.problems.append(f"{name}, {IS_DYNAMIC}")
        if not has_range or is_dynamic:
            relative = noise / bound if bound > 0 else noise
            if bits:
                return DAC(bits=bits, kind="sign-magnitude", noise=relative)
            return DAC(kind="ideal", noise=relative) if noise else None
    if has_range and bound * scale != 1:
        raise InputError(f"forward.inp_bound must be 1 where {ranges} is enabled, got {bound * scale:g}.")
    if bound > 0:
        full_scale = None if has_range else bound * scale
        return DAC(bits=bits or MAX_BITS, kind="sign-magnitude", full_scale=full_scale, noise=noise / bound)
    if bits:
        raise InputError(f"forward.inp_res needs a forward.inp_bound above 0 or an input range, got {bound:g}.")
    return DAC(kind="ideal", full_scale=scale, noise=noise) if noise or sets_unit else None


def _adc(reader: SettingsReader, crossbar: Crossbar) -> ADC | None:
    bits, bound = reader.bits("forward.out_res"), reader.number("forward.out_bound")
    if bound <= 0:
        if bits:
            raise InputError(f"forward.out_res needs a forward.out_bound above 0, got {bound:g}.")
        return None
    if reader.word("forward.bound_management") != "none":
        reader.problems.append("forward.bound_management, which repeats products that exceed forward.out_bound")
    if reader.word("clip.type") == "learnableperchannel":
        reader.problems.append("clip.type: its bounds set the range of the ADC there, the largest weights do here")
    unit = _output_unit(reader, crossbar, "forward.out_bound", "the ADC is to be calibrated")
    if unit is None:
        return ADC(bits=bits)
    return ADC(bits=bits, kind="sign-magnitude", range=(-bound * unit, bound * unit))


def _output_noise(reader: SettingsReader, crossbar: Crossbar) -> float:
    noise = reader.number("forward.out_noise")
    if noise <= 0:
        return 0.0
    unit = _output_unit(reader, crossbar, "forward.out_noise", "it is left out")
    if unit is None:
        return 0.0
    if reader.number("forward.out_noise_std"):
        reader.problems.append("forward.out_noise_std, other noise for each output (here all have the same)")
    per_channel = reader.get("forward.out_noise_per_channel", None)
    if per_channel is not None:  # aihwkit-lightning
        if crossbar.arrays.rows:
            reader.problems.append(
                "forward.out_noise, which aihwkit-lightning divides by the root of the number of arrays of a layer "
                "(here each array has all of it)"
            )
        if per_channel != (crossbar.weights.scaling == "column"):
            reader.problems.append(
                f"forward.out_noise_per_channel = {per_channel} (here the unit of noise is the largest weight of "
                f"{'an output' if crossbar.weights.scaling == 'column' else 'a layer'})"
            )
    return noise * unit


def _output_unit(reader: SettingsReader, crossbar: Crossbar, setting: str, consequence: str) -> float | None:
    """Return the unit of outputs there in units of a device at the end of the window with a full-scale input.

    None if there is none; that is noted with its consequence.
    """
    remapped = reader.word("remap.type") != "none"
    largest = reader.number("remap.remapped_wmax" if remapped else "mapping.weight_scaling_omega", 1.0)
    if largest <= 0 or crossbar.weights.mapping.banks > 1 or len(crossbar.weights.mapping.signs) == 1:
        reason = "mapping.weight_scaling_omega = 0, weights without a scale" if largest <= 0 else "a single device"
        reader.problems.append(f"{setting}, which has no unit here for {reason} ({consequence})")
        return None
    if not remapped and reader.get("mapping.weight_scaling_omega", None) is not None:
        reader.problems.append(
            f"mapping.weight_scaling_omega after training: {setting} is taken for arrays whose largest weight "
            f"is {largest:g} (remap.type keeps it there)"
        )
    low, high = crossbar.device.programming_window
    return (1 - low / high) / largest
