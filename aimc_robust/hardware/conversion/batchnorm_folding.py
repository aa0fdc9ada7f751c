"""Fold BatchNorm into the layer before it, where that is exact."""

import inspect
from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from aimc_robust.errors import InputError
from aimc_robust.noise.analog_weights import TRANSPOSED, analog_layers, outputs_of


@dataclass(frozen=True)
class Folding:
    """Which BatchNorms went into which layer, and which stayed, with the reason."""

    folded: dict[str, str]  # BatchNorm -> layer
    kept: dict[str, str]  # BatchNorm -> reason


def fold_batchnorm(model: nn.Module) -> Folding:
    """Fold every BatchNorm that follows a convolution or linear layer, in place, in evaluation form.

    W' = W gamma / sqrt(var + eps), b' = (b - mean) gamma / sqrt(var + eps) + beta, computed in float64. A BatchNorm
    is folded when, in the traced graph, its input is the output of one layer that nothing else uses, and both are
    called once, under one name, without hooks. The others, and all those of a model that cannot be traced, stay
    digital and are listed: they compute the same, only the weights are programmed as they stand.
    """
    norms = {name: module for name, module in model.named_modules() if isinstance(module, _BatchNorm)}
    if not norms:
        return Folding({}, {})
    try:
        graphs = _traces(model)
    except Exception as error:  # whatever a user's forward raises under tracing
        return Folding({}, dict.fromkeys(norms, f"the model cannot be traced: {type(error).__name__}"))
    folded: dict[str, str] = {}
    kept: dict[str, str] = {}
    for name, norm in norms.items():
        found = [_layer_before(model, graph, name) for graph in graphs]
        if any(isinstance(result, _Kept) for result in found) or len(set(found)) != 1:
            kept[name] = next((result.reason for result in found if isinstance(result, _Kept)), _Kept().reason)
            continue
        folded[name] = found[0]
        layer = model.get_submodule(found[0])
        gain = _fold(layer, norm)
        model.set_submodule(name, FoldedNorm(norm, gain, features_only=isinstance(layer, nn.Linear)))
    return Folding(folded, kept)


class FoldedNorm(nn.Module):
    """In place of a folded BatchNorm: passes its input on, and remembers what was folded.

    gamma, beta: of the BatchNorm. gain: what the weights of each output were multiplied by. features_only: after a
    linear layer only (batch, features) is normalised over its features.
    """

    def __init__(self, norm: _BatchNorm, gain: Tensor, *, features_only: bool) -> None:
        super().__init__()
        gamma, beta = (
            (torch.ones_like(gain), torch.zeros_like(gain)) if norm.weight is None else (norm.weight, norm.bias)
        )
        for name, values in (("gamma", gamma), ("beta", beta), ("gain", gain)):
            self.register_buffer(name, values.detach().to(norm.running_mean.dtype).clone(), persistent=False)
        self.eps, self.features_only = norm.eps, features_only

    def forward(self, x: Tensor) -> Tensor:
        if self.features_only and x.ndim != 2:
            raise InputError(
                f"a BatchNorm after a linear layer was folded for inputs (batch, features), got {x.ndim} dimensions; "
                "it normalises over another axis there and cannot be folded."
            )
        return x


@dataclass(frozen=True)
class _Kept:
    reason: str = "its input is not one layer's output alone"


class _Tracer(fx.Tracer):
    proxy_buffer_attributes = True  # statistics that forward reads by itself appear in the graph


def _traces(model: nn.Module) -> list[fx.Graph]:
    """The graph with every argument given, and the one with optional arguments left out: they may differ."""
    optional = {
        name: parameter.default
        for name, parameter in inspect.signature(model.forward).parameters.items()
        if parameter.default is not inspect.Parameter.empty
    }
    return [_Tracer().trace(model), *([_Tracer().trace(model, concrete_args=optional)] if optional else [])]


def _layer_before(model: nn.Module, graph: fx.Graph, norm_name: str) -> str | _Kept:
    """The name of the layer that the BatchNorm can be folded into, or why there is none."""
    modules = dict(model.named_modules(remove_duplicate=False))
    norm = modules[norm_name]
    if norm.running_mean is None:
        return _Kept("it keeps no running statistics")
    calls = [node for node in graph.nodes if node.op == "call_module" and modules[node.target] is norm]
    source = calls[0].args[0] if calls and calls[0].args else None
    if not isinstance(source, fx.Node) or source.op != "call_module" or len(source.users) != 1:
        return _Kept()
    layer = modules[source.target]
    if source.target not in analog_layers(model) or norm.num_features != outputs_of(layer):
        return _Kept()
    names = Counter(id(module) for module in modules.values())
    uses = Counter(id(modules[node.target]) for node in graph.nodes if node.op == "call_module")
    read = {node.target.rpartition(".")[0] for node in graph.nodes if node.op == "get_attr"}
    owners = Counter(id(p) for module in set(modules.values()) for p in module.parameters(recurse=False))
    for part, name in ((layer, source.target), (norm, norm_name)):
        if names[id(part)] > 1 or uses[id(part)] > 1 or name in read:
            return _Kept(f"{name} is used in more than one place")
        if any(owners[id(p)] > 1 for p in part.parameters(recurse=False)):
            return _Kept(f"{name} shares its weights with another layer")
        if part._forward_hooks or part._forward_pre_hooks:
            return _Kept(f"{name} has a forward hook")
    return source.target


@torch.no_grad()
def _fold(layer: nn.Module, norm: _BatchNorm) -> Tensor:
    """Fold in place; returns the gain of each output."""
    weight, transposed = layer.weight, isinstance(layer, TRANSPOSED)
    gain = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        gain = gain * norm.weight.double()
    bias = -norm.running_mean.double() if layer.bias is None else layer.bias.double() - norm.running_mean.double()
    bias = bias * gain
    if norm.bias is not None:
        bias = bias + norm.bias.double()
    per_output = gain.reshape(-1, *[1] * (weight.ndim - 1))
    if transposed:  # (inputs, outputs of a group, ...), groups one after another along the inputs
        per_output = gain.reshape(layer.groups, 1, -1, *[1] * (weight.ndim - 2))
        per_output = per_output.expand(-1, len(weight) // layer.groups, *[-1] * (weight.ndim - 1)).flatten(0, 1)
    weight.copy_(weight.double() * per_output)
    layer.bias = nn.Parameter(bias.to(weight.dtype), requires_grad=weight.requires_grad)
    return gain
