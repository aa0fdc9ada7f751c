"""Hardware descriptions of aihwkit and aihwkit-lightning (IBM), `RPUConfig`s, as crossbars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aimc_robust.errors import InputError, warn
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.config.deployment import Compensation, Deployment
from aimc_robust.hardware.config.ranges import LayerRanges
from aimc_robust.integrations.aihwkit_devices import device_options, named_object
from aimc_robust.integrations.aihwkit_periphery import periphery_options
from aimc_robust.integrations.aihwkit_settings import SettingsReader


def import_rpu_config(
    config: Any, *, device: Any = None, ranges: Mapping[str, LayerRanges] | None = None
) -> tuple[Crossbar, Deployment]:
    """Translate an `RPUConfig` of aihwkit, or of aihwkit-lightning, to a crossbar and its deployment.

    A resolution of 2^n - 2 steps, or its reciprocal, is n bits; the converters have a level at 0. An input range
    without a resolution clips as a DAC of 16 bits, a bound of outputs as an ADC of 0 bits. Settings that are not
    simulated are named in a warning; those that only act in training are not read.

    Args:
        config: An `InferenceRPUConfig`, `TorchInferenceRPUConfig` or the like, or a dict with the same names, such as
            {"forward": {"inp_res": 254}, "noise_model": "PCMLikeNoiseModel"}; what a dict lacks is off. Objects in it
            may be names of their classes, or dicts with the name under "class".
        device: The memory device, as in `Crossbar`; None: the card of the `noise_model`.
        ranges: The input ranges from `import_aihwkit`, for the deployment.

    Raises:
        InputError: if a setting cannot be translated; the message names it.
        UnknownNameError: if a noise model has no card, or a setting is unknown.

    Examples:
        >>> description = {"forward": {"inp_res": 1 / 254, "inp_bound": 1.0}, "noise_model": "PCMLikeNoiseModel"}
        >>> crossbar, deployment = import_rpu_config(description)
        >>> crossbar.device.cell.name, crossbar.periphery.dac.bits
        ('pcm-nandakumar2019', 8)
    """
    reader = SettingsReader(config)
    options = _device(reader, device)
    options |= {
        "rows": reader.size("mapping.max_input_size"),
        "columns": reader.size("mapping.max_output_size"),
        "scaling": "column" if _is_columnwise(reader) else "layer",
        "bias_rows": 0 if reader.flag("mapping.digital_bias", True) else 1,
    }
    crossbar = Crossbar(**options)
    if not reader.flag("forward.is_perfect") and reader.word("forward.mv_type") != "ideal":
        crossbar = crossbar.replace(**periphery_options(reader, crossbar))
        reader.check_off()
    compensation = _compensation(reader)
    _check_training(reader)
    if reader.problems:
        warn(f"not simulated as in aihwkit: {'; '.join(reader.problems)}.")
    return crossbar, Deployment(ranges=ranges, compensation=compensation)


def _device(reader: SettingsReader, device: Any) -> dict[str, Any]:
    noise_model = reader.get("noise_model", None)
    if device is not None:
        return {"device": device}
    if noise_model is None:
        raise InputError(
            "the RPUConfig names no noise_model of inference (configurations of training in memory, and those of "
            "aihwkit-lightning, have none); give the memory device as device=, such as 'pcm-nandakumar2019'."
        )
    options = device_options(noise_model)
    if options["mapping"] == "offset":
        reader.problems.append(
            "noise_model.g_converter, which maps the smallest weight to g_min (here: minus the largest)"
        )
    return options


def _is_columnwise(reader: SettingsReader) -> bool:
    """Whether each output has its own scale: by its weights' scaling, remapping, or clipping (aihwkit-lightning)."""
    scaled = reader.flag("mapping.weight_scaling_columnwise") and reader.number("mapping.weight_scaling_omega")
    return bool(scaled) or "channel" in reader.word("remap.type") or "perchannel" in reader.word("clip.type")


def _compensation(reader: SettingsReader) -> tuple[Compensation, ...]:
    compensation = reader.get("drift_compensation", None)
    if compensation is None:
        return ()
    name, _ = named_object(compensation, "drift_compensation")
    if name == "GlobalDriftCompensation":
        return ("drift",)
    raise InputError(
        f"drift_compensation: {name} cannot be translated; here it is GlobalDriftCompensation, one factor for each "
        "weight matrix, or None."
    )


def _check_training(reader: SettingsReader) -> None:
    """Note weight noise of training, which has a counterpart in training methods, and quantizations of inference."""
    for name in ("modifier.type", "modifier.noise_type"):
        if reader.word(name) not in ("none", "copy"):
            reader.problems.append(f"{name} = {reader.word(name)}, weight noise of training (see RWP)")
    if reader.word("modifier.quantization_type") != "none":
        reader.problems.append("modifier.quantization_type, the rounding of weights (see cell_bits)")
    if reader.get("act_quant_config", None) is not None:
        reader.problems.append("act_quant_config, the rounding of outputs")
    if reader.number("pre_post.periph_quant.n_bits") > 0:
        reader.problems.append("pre_post.periph_quant, the rounding of scales")
