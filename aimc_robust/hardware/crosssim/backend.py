"""Program a model onto CrossSim's cores: a reference simulation with the parameters of a crossbar."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from aimc_robust.errors import InputError, MissingDependencyError
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.config.placement import Hardware
from aimc_robust.hardware.config.ranges import LayerRanges, missing_ranges
from aimc_robust.hardware.config.tiling import partition
from aimc_robust.hardware.conversion.replace_layers import replace_layers
from aimc_robust.hardware.crosssim.layers import CrossSimArrays, CrossSimConvolution, CrossSimLayer, CrossSimLinear
from aimc_robust.hardware.crosssim.parameters import crosssim_parameters
from aimc_robust.hardware.layers.own_forward import has_own_forward
from aimc_robust.hardware.programming.programmed_matrix import with_bias_rows
from aimc_robust.noise.analog_weights import CONVOLUTIONS, AnalogWeight, analog_weights, is_transformers_conv1d
from aimc_robust.seeding import Axes

INSTALL = 'pip install "crosssim @ git+https://github.com/sandialabs/cross-sim@v3.2.0"'


@torch.no_grad()
def program_on_crosssim(
    prepared: nn.Module,
    hardware: Hardware,
    axes: Axes,
    time_s: float = 0.0,
    ranges: Mapping[str, LayerRanges] | None = None,
) -> nn.Module:
    """Replace the layers of a prepared model on the CPU by ones that CrossSim's cores compute, in place.

    Supported are linear layers, convolutions and the projections of MultiheadAttention. As in the native backend, a
    module reached by several names becomes one module under all of them, layers that share a parameter get equal
    devices, and every group of a convolution has its own arrays. All parameters are frozen, since no gradient passes
    through CrossSim. Random numbers are drawn by CrossSim, so the chip differs from the native one of the same axes.

    Raises:
        MissingDependencyError: if CrossSim is not installed.
        InputError: if CrossSim cannot express the model or the crossbar.
    """
    _require_crosssim()
    weights = analog_weights(prepared, include_shared=True).values()
    _check_supported([weight for weight in weights if hardware.crossbar_of(weight.layer) is not None])
    ranges = ranges or {}

    def make_layer(weight: AnalogWeight) -> CrossSimLayer | None:
        crossbar = hardware.crossbar_of(weight.layer)
        return None if crossbar is None else _make_layer(weight, crossbar, axes, time_s, ranges)

    programmed = replace_layers(prepared, make_layer)
    return programmed.requires_grad_(False)


def _require_crosssim() -> None:
    try:
        from simulator import AnalogCore, CrossSimParameters  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(f"the backend 'crosssim' needs CrossSim 3.2: {INSTALL}") from error


def _check_supported(weights: list[AnalogWeight]) -> None:
    """Raise `InputError` for layers that CrossSim's cores cannot compute, naming all of them."""
    supported = (nn.Linear, *CONVOLUTIONS, nn.MultiheadAttention)
    unsupported = [
        weight
        for weight in weights
        if not isinstance(weight.module, supported) and not is_transformers_conv1d(weight.module)
    ]
    if unsupported:
        raise InputError(
            f"the backend 'crosssim' has no form of {_names(unsupported)}; expected linear layers, convolutions and "
            "attention. Use the native backend."
        )
    overridden = [weight for weight in weights if has_own_forward(weight.module)]
    if overridden:
        raise InputError(
            f"{_names(overridden)} overrides forward, which CrossSim's cores would not run. Use the native backend."
        )
    not_on_cpu = [weight for weight in weights if weight.parameter.device.type != "cpu"]
    if not_on_cpu:
        raise InputError(
            f"the backend 'crosssim' computes on the CPU; {_names(not_on_cpu[:1])} is on "
            f"{not_on_cpu[0].parameter.device}. Move the model with .cpu()."
        )


def _names(weights: list[AnalogWeight]) -> str:
    return ", ".join(f"{weight.layer!r} ({type(weight.module).__name__})" for weight in weights)


def _make_layer(
    weight: AnalogWeight, crossbar: Crossbar, axes: Axes, time_s: float, ranges: Mapping[str, LayerRanges]
) -> CrossSimLayer:
    module, name = weight.module, weight.layer
    matrix = with_bias_rows(crossbar, weight)
    groups = module.groups if isinstance(module, CONVOLUTIONS) else 1
    _check_sizes(name, matrix.shape[1], crossbar.arrays.rows, "inputs", "rows")
    _check_sizes(name, matrix.shape[0] // groups, crossbar.arrays.columns, "outputs", "columns")
    layer_ranges = ranges.get(name)
    if layer_ranges is None and crossbar.periphery.needs_calibration:
        raise missing_ranges(crossbar.periphery.calibrated, name)
    parameters = crosssim_parameters(crossbar, layer=layer_ranges, time_s=time_s)
    limit = float(crossbar.weights.weight_limit(matrix.float(), layer=name)) or torch.finfo(torch.float32).eps
    if groups > 1:  # one limit for the layer, not one for each group's core
        parameters["core"]["mapping"]["weights"] |= {"percentile": None, "min": -limit, "max": limit}
    bias_rows = crossbar.arrays.bias_rows if weight.bias is not None else 0
    arrays = CrossSimArrays(
        name, matrix, parameters, bias_rows=bias_rows, groups=groups, axes=axes.at(layer=weight.array_owner)
    )
    bias = None if bias_rows else weight.bias
    if isinstance(module, CONVOLUTIONS):
        return CrossSimConvolution(arrays, bias, module)
    return CrossSimLinear(arrays, bias)


def _check_sizes(name: str, count: int, limit: int, unit: str, option: str) -> None:
    """Raise `InputError` if CrossSim's cut into arrays differs from `partition`, which never exceeds the limit."""
    if limit == 0 or count <= limit:
        return
    arrays = -(-count // limit)
    size = round(count / arrays)
    crosssim_sizes = [*[size] * (arrays - 1), count - size * (arrays - 1)]
    if crosssim_sizes != [stop - start for start, stop in partition(count, limit)]:
        raise InputError(
            f"the layer {name!r} has {count} {unit}; CrossSim would cut them into arrays of {crosssim_sizes[0]} and, "
            f"the last, {crosssim_sizes[-1]}, which exceeds {option}={limit}. Choose another value of {option}, or "
            "use the native backend."
        )
