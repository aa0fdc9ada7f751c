"""Fold BatchNorm into the layer before it, where that is exact."""

from dataclasses import dataclass

import torch
from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from aimc_robust.noise.scope import ANALOG_LAYERS


@dataclass(frozen=True)
class Folding:
    """Which BatchNorms went into which layer, which stayed, and why."""

    folded: dict[str, str]  # BatchNorm -> layer
    kept: tuple[str, ...]
    reason: str = ""


def fold_batchnorm(model: nn.Module) -> Folding:
    """Fold every BatchNorm that follows a convolution or linear layer, in place, in evaluation form.

    W' = W gamma / sqrt(var + eps), b' = (b - mean) gamma / sqrt(var + eps) + beta, computed in float64. A BatchNorm
    is folded when, in the traced graph, its input is the output of one layer that nothing else uses, and both are
    called once. The others, and all those of a model that cannot be traced, stay digital and are listed: they
    compute the same, only the weights are programmed as they stand.
    """
    norms = {name: m for name, m in model.named_modules() if isinstance(m, _BatchNorm)}
    if not norms:
        return Folding({}, ())
    try:
        graph = fx.Tracer().trace(model)
    except Exception as error:  # whatever a user's forward raises under tracing
        return Folding({}, tuple(norms), f"the model cannot be traced ({type(error).__name__})")
    pairs = _foldable(model, graph)
    for norm_name, layer_name in pairs.items():
        _fold(model.get_submodule(layer_name), norms[norm_name])
        model.set_submodule(norm_name, nn.Identity())
    kept = tuple(name for name in norms if name not in pairs)
    return Folding(pairs, kept, "its input is not one layer's output alone" if kept else "")


def _foldable(model: nn.Module, graph: fx.Graph) -> dict[str, str]:
    """BatchNorm name -> name of the layer it can be folded into."""
    modules = dict(model.named_modules())
    calls: dict[int, int] = {}
    owners: dict[int, int] = {}
    for node in graph.nodes:
        if node.op == "call_module":
            calls[id(modules[node.target])] = calls.get(id(modules[node.target]), 0) + 1
        elif node.op == "get_attr":  # a parameter used outside its own layer: its scale must not change
            owner = model.get_submodule(node.target.rpartition(".")[0])
            calls[id(owner)] = calls.get(id(owner), 0) + 2
    for module in modules.values():
        for parameter in module.parameters(recurse=False):
            owners[id(parameter)] = owners.get(id(parameter), 0) + 1
    pairs = {}
    for node in graph.nodes:
        norm = modules.get(node.target) if node.op == "call_module" else None
        if not isinstance(norm, _BatchNorm) or norm.running_mean is None:
            continue
        source = node.args[0] if node.args else None
        layer = modules.get(source.target) if isinstance(source, fx.Node) and source.op == "call_module" else None
        if not isinstance(layer, ANALOG_LAYERS) or len(source.users) != 1:
            continue
        own = all(owners[id(p)] == 1 for p in layer.parameters(recurse=False))
        if own and calls[id(norm)] == calls[id(layer)] == 1 and norm.num_features == layer.weight.shape[0]:
            pairs[node.target] = source.target
    return pairs


@torch.no_grad()
def _fold(layer: nn.Module, norm: _BatchNorm) -> None:
    weight = layer.weight
    gain = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        gain = gain * norm.weight.double()
    bias = -norm.running_mean.double() if layer.bias is None else layer.bias.double() - norm.running_mean.double()
    bias = bias * gain
    if norm.bias is not None:
        bias = bias + norm.bias.double()
    weight.copy_(weight.double() * gain.reshape(-1, *[1] * (weight.ndim - 1)))
    layer.bias = nn.Parameter(bias.to(weight.dtype), requires_grad=weight.requires_grad)
