"""Put array layers in the place of torch's layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from aimc_robust.errors import InputError
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.layers.array_layer import ArrayLayer
from aimc_robust.hardware.layers.attention import AnalogAttention
from aimc_robust.hardware.layers.bypass_guard import ForwardDepth
from aimc_robust.hardware.layers.linear_conv import AnalogConvolution, AnalogLinear, AnalogTransposedConvolution
from aimc_robust.hardware.programming.programmed_matrix import Chip, program_arrays
from aimc_robust.noise.analog_weights import ANALOG_LAYERS, CONVOLUTIONS, TRANSPOSED, AnalogWeight, analog_weights

HOOKS = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
)


@torch.no_grad()
def install_arrays(model: nn.Module, crossbar: Crossbar, chip: Chip) -> nn.Module:
    """Replace every layer that holds weight matrices by one that computes in arrays; returns the model.

    Raises InputError for a layer that has no array form.
    """
    analog = replace_layers(model, lambda weight: _array_layer(weight, crossbar, chip))
    if not isinstance(analog, ArrayLayer):
        running = ForwardDepth()
        running.watch(analog)
        for module in analog.modules():
            if isinstance(module, ArrayLayer):
                module.running = running
    return analog


def replace_layers(model: nn.Module, array_form: Callable[[AnalogWeight], nn.Module]) -> nn.Module:
    """`model` with `array_form` of each of its weight matrices in the place of their layers, in evaluation form.

    A module reached by several names becomes one module under all of them. Attention gets its projections replaced.
    """
    uses: dict[int, list[AnalogWeight]] = {}
    for use in analog_weights(model, every_use=True).values():
        uses.setdefault(id(use.module), []).append(use)
    return _converted(model, uses, array_form, {}).eval()


# A function of its own, since one that is made in another and calls itself would keep every layer of a chip until the
# garbage collector comes by; so would a bypass that holds its layer.
def _converted(
    module: nn.Module,
    uses: dict[int, list[AnalogWeight]],
    array_form: Callable[[AnalogWeight], nn.Module],
    done: dict[int, nn.Module],
) -> nn.Module:
    if id(module) in done:
        return done[id(module)]
    done[id(module)] = module
    layers = [array_form(weight) for weight in uses.get(id(module), [])]
    if isinstance(module, nn.MultiheadAttention):
        done[id(module)] = AnalogAttention(module, layers, _converted(module.out_proj, uses, array_form, done))
    elif layers:
        done[id(module)] = layers[0]
    else:
        for name, child in module._modules.items():
            if child is not None:
                module._modules[name] = _converted(child, uses, array_form, done)
        if isinstance(module, nn.TransformerEncoder):
            module.use_nested_tensor = False  # nested tensors are for its fast path, which bypasses its layers
        return module
    _take_over(done[id(module)], module)
    return done[id(module)]


def has_own_forward(layer: nn.Module) -> bool:
    """Whether a layer, or a subclass of one of torch's, computes something else than torch's own."""
    own = next(kind for kind in type(layer).__mro__ if kind.__module__.startswith("torch.nn."))
    steps = ("forward", "_conv_forward")
    changed = [getattr(type(layer), name, None) != getattr(own, name, None) for name in steps]
    return any(changed) or any(name in vars(layer) for name in steps)


def _array_layer(weight: AnalogWeight, crossbar: Crossbar, chip: Chip) -> ArrayLayer:
    layer = weight.module
    if isinstance(layer, (*ANALOG_LAYERS, nn.MultiheadAttention)):
        if has_own_forward(layer):
            raise InputError(
                f"the layer {weight.layer!r} ({type(layer).__name__}) has a forward of its own, which arrays would not "
                "run; without converters and read noise its weights can be programmed."
            )
    else:
        raise InputError(
            f"the layer {weight.layer!r} ({type(layer).__name__}) is supported in the weight-error path only; leave "
            "out dac and adc, and set read_noise=False if the card has read noise."
        )
    if not chip.holds(weight):
        crossbar = crossbar.ideal()
    matrix, shape = program_arrays(crossbar, weight, chip), weight.filters_first().shape
    if isinstance(layer, TRANSPOSED):
        return AnalogTransposedConvolution(weight.layer, crossbar, matrix, layer, shape)
    if isinstance(layer, CONVOLUTIONS):
        return AnalogConvolution(weight.layer, crossbar, matrix, layer, shape)
    return AnalogLinear(weight.layer, crossbar, matrix, shape)


def _take_over(replacement: nn.Module, layer: nn.Module) -> None:
    """Hooks, and the plain attributes that a model's code may read, such as in_features."""
    for hooks in HOOKS:
        getattr(replacement, hooks).update(getattr(layer, hooks))
    for name, value in vars(layer).items():
        if not name.startswith("_") and not hasattr(replacement, name):
            setattr(replacement, name, value)

    kind = type(layer).__name__

    def bypass(*args: Any, **kwargs: Any) -> Any:
        raise InputError(
            f"a {kind} that arrays have replaced is called through another reference, such as a plain "
            "list of layers; keep layers in an nn.ModuleList, so that arrays can take their place."
        )

    layer.forward = bypass
