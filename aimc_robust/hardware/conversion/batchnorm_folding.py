"""Fold BatchNorm into the preceding layer where this is exact."""

import inspect
from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from aimc_robust.errors import InputError
from aimc_robust.noise.analog_weights import ANALOG_LAYERS, TRANSPOSED


@dataclass(frozen=True)
class Folding:
    """Which BatchNorms were folded, and why the others were not.

    Attributes:
        folded: Name of each folded BatchNorm -> name of the layer that it was folded into.
        not_folded: Name of each other BatchNorm -> reason.
    """

    folded: dict[str, str]
    not_folded: dict[str, str]


def fold_batchnorm(model: nn.Module) -> Folding:
    """Fold every BatchNorm that follows a convolution or linear layer, in place, for evaluation mode.

    W' = W gamma / sqrt(var + eps), b' = (b - mean) gamma / sqrt(var + eps) + beta, computed in float64. A BatchNorm
    is folded if, in the traced graph, its input is the output of one layer that nothing else uses, and both are called
    once, under one name, without hooks. All others, and all of a model that cannot be traced, stay digital and compute
    the same; only the weights are programmed without the factor.
    """
    norms = {name: module for name, module in model.named_modules() if isinstance(module, _BatchNorm)}
    if not norms:
        return Folding({}, {})
    try:
        graphs = _trace(model)
    except Exception as error:  # a user's forward may raise anything under tracing
        return Folding({}, dict.fromkeys(norms, f"the model cannot be traced: {type(error).__name__}"))
    folded: dict[str, str] = {}
    not_folded: dict[str, str] = {}
    for name, norm in norms.items():
        results = [_preceding_layer(model, graph, name) for graph in graphs]
        layers = {result for result in results if isinstance(result, str)}
        reasons = [result.reason for result in results if isinstance(result, _NotFoldable)]
        if reasons or len(layers) != 1:
            not_folded[name] = reasons[0] if reasons else _NotFoldable().reason
            continue
        folded[name] = layers.pop()
        layer = model.get_submodule(folded[name])
        gain = _fold(layer, norm)
        model.set_submodule(name, FoldedNorm(norm, gain, features_only=isinstance(layer, nn.Linear)))
    return Folding(folded, not_folded)


class FoldedNorm(nn.Module):
    """Replacement of a folded BatchNorm: the identity, which keeps the folded values, each of shape (features,).

    Attributes:
        gamma: Scale of the BatchNorm.
        beta: Shift of the BatchNorm.
        gain: Factor by which the weights of each output were multiplied.
        features_only: Whether inputs must have shape (batch, features), as after a linear layer.
    """

    gamma: Tensor
    beta: Tensor
    gain: Tensor

    def __init__(self, norm: _BatchNorm, gain: Tensor, *, features_only: bool) -> None:
        super().__init__()
        gamma, beta = (
            (torch.ones_like(gain), torch.zeros_like(gain)) if norm.weight is None else (norm.weight, norm.bias)
        )
        dtype = _running_statistics(norm)[0].dtype
        for name, values in (("gamma", gamma), ("beta", beta), ("gain", gain)):
            self.register_buffer(name, values.detach().to(dtype).clone(), persistent=False)
        self.eps, self.features_only = norm.eps, features_only

    def forward(self, x: Tensor) -> Tensor:
        """Return `x`; raise InputError if it has a shape for which folding is not exact."""
        if self.features_only and x.ndim != 2:
            raise InputError(
                f"a BatchNorm after a linear layer was folded for inputs (batch, features), got {x.ndim} dimensions; "
                "for other shapes it normalizes over another axis and cannot be folded."
            )
        return x


@dataclass(frozen=True)
class _NotFoldable:
    reason: str = "its input is not one layer's output alone"


class _Tracer(fx.Tracer):
    proxy_buffer_attributes = True  # buffers that forward reads directly appear in the graph


def _trace(model: nn.Module) -> list[fx.Graph]:
    """Graph with all arguments and, if there are optional ones, the graph without them: the two may differ."""
    optional = {
        name: parameter.default
        for name, parameter in inspect.signature(model.forward).parameters.items()
        if parameter.default is not inspect.Parameter.empty
    }
    return [_Tracer().trace(model), *([_Tracer().trace(model, concrete_args=optional)] if optional else [])]


def _preceding_layer(model: nn.Module, graph: fx.Graph, norm_name: str) -> str | _NotFoldable:
    """Name of the layer that the BatchNorm can be folded into, or the reason why there is none."""
    modules = dict(model.named_modules(remove_duplicate=False))
    norm = modules[norm_name]
    if norm.running_mean is None:
        return _NotFoldable("it keeps no running statistics")
    calls = [node for node in graph.nodes if node.op == "call_module" and modules[node.target] is norm]
    source = calls[0].args[0] if calls and calls[0].args else None
    if not isinstance(source, fx.Node) or source.op != "call_module" or len(source.users) != 1:
        return _NotFoldable()
    layer_name = str(source.target)
    layer = modules[layer_name]
    if not isinstance(layer, ANALOG_LAYERS) or layer._parameters.get("weight") is None:
        return _NotFoldable()
    if norm.num_features != (layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels):
        return _NotFoldable()
    names = Counter(id(module) for module in modules.values())
    uses = Counter(id(modules[node.target]) for node in graph.nodes if node.op == "call_module")
    read_directly = {node.target.rpartition(".")[0] for node in graph.nodes if node.op == "get_attr"}
    owners = Counter(id(p) for module in set(modules.values()) for p in module.parameters(recurse=False))
    for module, name in ((layer, layer_name), (norm, norm_name)):
        if names[id(module)] > 1 or uses[id(module)] > 1 or name in read_directly:
            return _NotFoldable(f"{name} is used in more than one place")
        if any(owners[id(p)] > 1 for p in module.parameters(recurse=False)):
            return _NotFoldable(f"{name} shares its weights with another layer")
        if module._forward_hooks or module._forward_pre_hooks:
            return _NotFoldable(f"{name} has a forward hook")
    return layer_name


def _running_statistics(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """Running mean and variance."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return norm.running_mean, norm.running_var


@torch.no_grad()
def _fold(layer: nn.Module, norm: _BatchNorm) -> Tensor:
    """Fold in place and return the gain of each output."""
    assert isinstance(layer, ANALOG_LAYERS)
    weight, (mean, variance) = layer.weight, _running_statistics(norm)
    gain = (variance.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        gain = gain * norm.weight.double()
    bias = -mean.double() if layer.bias is None else layer.bias.double() - mean.double()
    bias = bias * gain
    if norm.bias is not None:
        bias = bias + norm.bias.double()
    if isinstance(layer, TRANSPOSED):  # (inputs, outputs of a group, ...), the groups concatenated along the inputs
        per_output = gain.reshape(layer.groups, 1, -1, *[1] * (weight.ndim - 2))
        per_output = per_output.expand(-1, len(weight) // layer.groups, *[-1] * (weight.ndim - 1)).flatten(0, 1)
    else:
        per_output = gain.reshape(-1, *[1] * (weight.ndim - 1))
    weight.copy_(weight.double() * per_output)
    layer.bias = nn.Parameter(bias.to(weight.dtype), requires_grad=weight.requires_grad)
    return gain
