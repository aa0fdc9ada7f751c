"""Replace torch's layers by layers that compute in arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from aimc_robust.errors import InputError
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.config.placement import Hardware
from aimc_robust.hardware.config.ranges import LayerRanges
from aimc_robust.hardware.conversion.references import rebind
from aimc_robust.hardware.layers.array_layer import ArrayLayer
from aimc_robust.hardware.layers.attention import AnalogAttention
from aimc_robust.hardware.layers.bypass_guard import ForwardDepth, GuardedWeight, WeightGuard
from aimc_robust.hardware.layers.exact_projection import ExactProjection
from aimc_robust.hardware.layers.linear_conv import AnalogConvolution, AnalogLinear, AnalogTransposedConvolution
from aimc_robust.hardware.layers.own_forward import forward_on_arrays, has_own_forward
from aimc_robust.hardware.layers.recurrent import AnalogRecurrent, AnalogRecurrentCell
from aimc_robust.hardware.programming.programmed_matrix import Chip, ProgrammedMatrix, program_arrays
from aimc_robust.noise.analog_weights import CONVOLUTIONS, TRANSPOSED, AnalogWeight, analog_weights

HOOKS = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
)


@torch.no_grad()
def install_arrays(
    model: nn.Module,
    hardware: Hardware,
    chip: Chip,
    ranges: Mapping[str, LayerRanges] | None = None,
    *,
    only: Callable[[Crossbar], bool] = lambda crossbar: True,
) -> nn.Module:
    """Replace every layer with weight matrices by one that computes in arrays, in place.

    Digital layers stay as they are, and so do those of which `only` is false for their crossbar.

    Returns:
        The model, or its replacement if it is a single layer.

    Raises:
        InputError: if a layer has no array form.
    """
    ranges = ranges or {}

    def make_layer(weight: AnalogWeight) -> nn.Module | None:
        crossbar = hardware.crossbar_of(weight.layer)
        if crossbar is None or not only(crossbar):
            return None
        return _array_layer(weight, crossbar, chip, ranges.get(weight.layer))

    analog = replace_layers(model, make_layer)
    if not isinstance(analog, ArrayLayer):
        forward_depth = ForwardDepth()
        forward_depth.attach(analog)
        for module in analog.modules():
            if isinstance(module, ArrayLayer):
                module.forward_depth = forward_depth
    return analog


MakeLayer = Callable[[AnalogWeight], nn.Module | None]
"""Creates the layer that computes a weight matrix; None: torch computes it as before."""


def replace_layers(model: nn.Module, make_layer: MakeLayer) -> nn.Module:
    """Replace every layer with weight matrices by what `make_layer` creates for it, in place; set evaluation mode.

    A module reached by several names becomes one module under all of them; references outside of what torch registers
    are rebound, see `rebind`. For attention the projections are replaced.

    Returns:
        The model, or its replacement if it is a single layer.
    """
    weights: dict[int, list[AnalogWeight]] = {}
    for weight in analog_weights(model, include_shared=True).values():
        weights.setdefault(id(weight.module), []).append(weight)
    replaced: dict[int, nn.Module] = {}
    result = _replacement(model, weights, make_layer, replaced).eval()
    references: dict[int, nn.Module | GuardedWeight] = {}
    for key, own in weights.items():
        for weight in own:
            if replaced[key] is not weight.module:
                references[key] = replaced[key]
                references[id(weight.parameter)] = WeightGuard(weight.layer).mark(weight.parameter.detach())
    rebind(result, references)
    return result


# Not a nested function: one that refers to itself would keep every layer of a chip alive until garbage collection.
def _replacement(
    module: nn.Module,
    weights: dict[int, list[AnalogWeight]],
    make_layer: MakeLayer,
    replaced: dict[int, nn.Module],
) -> nn.Module:
    """Replacement of one module; `replaced` maps the id of each visited module to its replacement."""
    if id(module) in replaced:
        return replaced[id(module)]
    replaced[id(module)] = module
    own = weights.get(id(module), [])
    layers = [make_layer(weight) for weight in own]
    out_proj, has_other_projection = None, False
    if own and isinstance(module, nn.MultiheadAttention):
        out_proj = _replacement(module.out_proj, weights, make_layer, replaced)
        has_other_projection = out_proj is not module.out_proj
    if any(layer is not None for layer in layers) or has_other_projection:
        replaced[id(module)] = analog_form(module, filled(own, layers), out_proj)
    else:
        for name, child in module._modules.items():
            if child is not None:
                module._modules[name] = _replacement(child, weights, make_layer, replaced)
        if isinstance(module, nn.TransformerEncoder):
            module.use_nested_tensor = False  # nested tensors serve its fast path, which bypasses its layers
        return module
    _copy_attributes(replaced[id(module)], module)
    return replaced[id(module)]


def filled(weights: Sequence[AnalogWeight], layers: Sequence[nn.Module | None]) -> dict[str, nn.Module]:
    """Return the layer of each matrix of a module by its attribute's name; None becomes an exact one."""
    return {
        weight.name.rpartition(".")[2]: ExactProjection(weight) if layer is None else layer
        for weight, layer in zip(weights, layers, strict=True)
    }


def analog_form(module: nn.Module, layers: Mapping[str, nn.Module], out_proj: nn.Module | None) -> nn.Module:
    """Return what computes a module of weight matrices with `layers`, one for each matrix by its attribute's name.

    `out_proj` computes the outer projection of attention.
    """
    if isinstance(module, nn.MultiheadAttention):
        assert out_proj is not None
        return AnalogAttention(module, list(layers.values()), out_proj)
    if isinstance(module, nn.RNNBase):
        return AnalogRecurrent(module, layers)
    if isinstance(module, nn.RNNCellBase):
        return AnalogRecurrentCell(module, layers)
    return layers["weight"]


def _array_layer(weight: AnalogWeight, crossbar: Crossbar, chip: Chip, ranges: LayerRanges | None) -> nn.Module:
    """Return the array form of a weight matrix, in its layer's own forward if it has one."""
    if not chip.holds(weight):
        crossbar = crossbar.ideal()
    with crossbar.naming_layer(weight.layer):
        matrix = program_arrays(crossbar, weight, chip)
    arrays = array_layer(weight, crossbar, matrix, ranges)
    return forward_on_arrays(weight.module, arrays) if has_own_forward(weight.module) else arrays


def array_layer(
    weight: AnalogWeight, crossbar: Crossbar, matrix: ProgrammedMatrix, ranges: LayerRanges | None
) -> ArrayLayer:
    """Return the array form of a weight matrix."""
    layer = weight.module
    if has_own_forward(layer) and not isinstance(layer, (nn.Linear, *CONVOLUTIONS)):
        raise InputError(
            f"the layer {weight.layer!r} ({type(layer).__name__}) overrides forward, which arrays would not run; "
            "without converters and read noise its weights can be programmed."
        )
    replacement: ArrayLayer
    shape = weight.filters_first().shape
    if isinstance(layer, TRANSPOSED):
        replacement = AnalogTransposedConvolution(weight.layer, crossbar, matrix, layer, shape)
    elif isinstance(layer, CONVOLUTIONS):
        replacement = AnalogConvolution(weight.layer, crossbar, matrix, layer, shape)
    else:
        replacement = AnalogLinear(weight.layer, crossbar, matrix, shape)
    replacement.calibrated = ranges
    return replacement


def _copy_attributes(replacement: nn.Module, layer: nn.Module) -> None:
    """Copy hooks, and plain attributes that a model's code may read, such as in_features; disable `layer`."""
    for hooks in HOOKS:
        getattr(replacement, hooks).update(getattr(layer, hooks))
    for name, value in vars(layer).items():
        if not name.startswith("_") and not hasattr(replacement, name):
            setattr(replacement, name, value)

    kind = type(layer).__name__  # not the layer itself: its forward would keep it alive until garbage collection

    def bypass(*args: Any, **kwargs: Any) -> Any:
        raise InputError(
            f"a {kind} that was replaced by arrays is called through another reference, such as a plain list of "
            "layers; keep layers in an nn.ModuleList, so that they can be replaced."
        )

    layer.forward = bypass
