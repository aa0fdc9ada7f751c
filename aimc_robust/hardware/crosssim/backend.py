"""Program a model onto CrossSim's cores: the reference simulation, with the parameters of a crossbar."""

from __future__ import annotations

import torch
from torch import nn

from aimc_robust.errors import InputError, MissingDependencyError
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.config.ranges import missing_ranges
from aimc_robust.hardware.config.tiling import partition
from aimc_robust.hardware.conversion.replace_layers import has_own_forward, replace_layers
from aimc_robust.hardware.crosssim.layers import CrossSimArrays, CrossSimConvolution, CrossSimLayer, CrossSimLinear
from aimc_robust.hardware.crosssim.parameters import crosssim_parameters
from aimc_robust.hardware.programming.programmed_matrix import with_bias_rows
from aimc_robust.hardware.programming.weights_to_states import matrix_limit
from aimc_robust.noise.analog_weights import CONVOLUTIONS, AnalogWeight, analog_weights
from aimc_robust.seeding import Axes

INSTALL = 'pip install "crosssim @ git+https://github.com/sandialabs/cross-sim@v3.2.0"'


@torch.no_grad()
def program_on_crosssim(prepared: nn.Module, crossbar: Crossbar, axes: Axes, time_s: float = 0.0) -> nn.Module:
    """Replace the layers of `prepared` by ones that CrossSim's cores compute, in place; returns the model.

    Linear layers, convolutions and the projections of MultiheadAttention; a module reached by several names becomes
    one under all of them, layers that share a parameter get equal devices, and every group of a convolution has
    arrays of its own, as in the native backend. What remains is frozen: no gradient passes CrossSim.
    prepared: from `prepare`, on the CPU. axes: name the chip; the random numbers are CrossSim's own, so it is another
    chip than the native one of these axes. time_s: since programming [s]; the same chip at every time.
    Raises MissingDependencyError without CrossSim, InputError for what it cannot express.
    """
    _require_crosssim()
    _refuse(list(analog_weights(prepared, every_use=True).values()))
    programmed = replace_layers(prepared, lambda weight: _layer(weight, crossbar, axes, time_s))
    return programmed.requires_grad_(False)


def _require_crosssim() -> None:
    try:
        from simulator import AnalogCore, CrossSimParameters  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(f"the backend 'crosssim' needs CrossSim 3.2: {INSTALL}") from error


def _refuse(uses: list[AnalogWeight]) -> None:
    """Layers that CrossSim's cores cannot stand for, all of them by name."""
    other = [use for use in uses if not isinstance(use.module, (nn.Linear, *CONVOLUTIONS, nn.MultiheadAttention))]
    if other:
        raise InputError(
            f"the backend 'crosssim' has no form of {_named(other)}; expected linear layers, convolutions and "
            "attention. Use the native backend."
        )
    own = [use for use in uses if has_own_forward(use.module)]
    if own:
        raise InputError(
            f"{_named(own)} has a forward of its own, which CrossSim's cores would not run. Use the native backend."
        )
    elsewhere = [use for use in uses if use.parameter.device.type != "cpu"]
    if elsewhere:
        raise InputError(
            f"the backend 'crosssim' computes on the CPU; {_named(elsewhere[:1])} is on "
            f"{elsewhere[0].parameter.device}. Move the model with .cpu()."
        )


def _named(uses: list[AnalogWeight]) -> str:
    return ", ".join(f"{use.layer!r} ({type(use.module).__name__})" for use in uses)


def _layer(weight: AnalogWeight, crossbar: Crossbar, axes: Axes, time_s: float) -> CrossSimLayer:
    module, name = weight.module, weight.layer
    matrix = with_bias_rows(crossbar, weight)
    groups = module.groups if isinstance(module, CONVOLUTIONS) else 1
    _check_sizes(name, matrix.shape[1], crossbar.rows, "inputs", "rows")
    _check_sizes(name, matrix.shape[0] // groups, crossbar.columns, "outputs", "columns")
    ranges = (crossbar.ranges or {}).get(name)
    if ranges is None and crossbar.needs_ranges:
        raise missing_ranges(name)
    tree = crosssim_parameters(crossbar, layer=ranges, time_s=time_s)
    limit = float(matrix_limit(crossbar, matrix.float(), layer=name)) or torch.finfo(torch.float32).eps
    if groups > 1:  # one limit for the layer, not one for each group's core
        tree["core"]["mapping"]["weights"] |= {"percentile": None, "min": -limit, "max": limit}
    bias_rows = crossbar.bias_rows if weight.bias is not None else 0
    arrays = CrossSimArrays(name, matrix, tree, bias_rows=bias_rows, groups=groups, axes=axes.at(layer=weight.array))
    bias = None if bias_rows else weight.bias
    if isinstance(module, CONVOLUTIONS):
        return CrossSimConvolution(arrays, bias, module)
    return CrossSimLinear(arrays, bias)


def _check_sizes(name: str, count: int, limit: int, what: str, side: str) -> None:
    """Refuse a cut into arrays that differs from ours, which keeps within the limit where CrossSim's does not."""
    if limit == 0 or count <= limit:
        return
    arrays = -(-count // limit)
    size = round(count / arrays)
    theirs = [*[size] * (arrays - 1), count - size * (arrays - 1)]
    if theirs != [stop - start for start, stop in partition(count, limit)]:
        raise InputError(
            f"the layer {name!r} has {count} {what}; CrossSim would cut them into arrays of {theirs[0]} and, the last, "
            f"{theirs[-1]}, which exceeds {side}={limit}. Choose other {side}, or use the native backend."
        )
