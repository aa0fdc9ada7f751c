"""Models whose weights cannot be read or changed: refused by name, where errors would otherwise leave them exact."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from aimc_robust.errors import InputError, require_type
from aimc_robust.noise.shards import has_base, is_shard, is_sharded

PRODUCT = re.compile(r"linear|conv|mm|mv|matmul|einsum|dot|lstm|gru|rnn")  # in names of torch's operations


def check_model(model: Any, *, shards: bool = False) -> None:
    """Raise InputError for a model with weights that are compiled into code, quantized, sharded or without values.

    `shards`: whether a model that `fully_shard` splits as a whole is accepted.
    """
    require_type("model", model, nn.Module, example="the torch.nn.Module itself, with its layers")
    shards = shards and is_sharded(model)
    _refuse(model, lambda module: _code_reason(module, shards) or _lazy_reason(module) or _state_reason(module, shards))


def check_initialized(model: nn.Module) -> None:
    """Raise InputError for a model with lazy layers that have seen no batch."""
    _refuse(model, _lazy_reason)


def require_real_values(weight: Tensor, *, layer: str = "") -> None:
    """Raise InputError for a weight that has no elements, or complex ones."""
    named = f"the layer {layer!r}" if layer else "this layer"
    if not weight.numel():
        raise InputError(
            f"{named} has no weights, which a crossbar could not store (its matrix has the shape "
            f"{tuple(weight.shape)}); leave it digital, or out of the model."
        )
    if weight.is_complex():
        raise InputError(
            f"{named} has complex weights ({weight.dtype}), and a crossbar stores real numbers; leave it digital, or "
            "use two real layers."
        )


def _refuse(model: nn.Module, find_reason: Callable[[nn.Module], str]) -> None:
    for name, module in model.named_modules():
        if reason := find_reason(module):
            kind = type(module).__name__
            where = f"the module {name!r} of {type(model).__name__} ({kind})" if name else f"this {kind}"
            raise InputError(f"{where} {reason}.")


def _lazy_reason(module: nn.Module) -> str:
    for name, value in (*module._parameters.items(), *module._buffers.items()):
        if value is not None and is_lazy(value):
            return f"has no values for {name!r} before its first batch; run one batch through the model first"
    return ""


def _code_reason(module: nn.Module, shards: bool) -> str:
    if isinstance(module, torch.jit.ScriptModule):
        return (
            "is compiled by torch.jit, so that weights of its layers are out of reach; pass the nn.Module it is made of"
        )
    if isinstance(module, torch.fx.GraphModule) and _multiplies_in_graph(module):
        return "multiplies with weights in its graph instead of in layers (torch.export); pass the exported nn.Module"
    if has_base(module, "FullyShardedDataParallel"):
        return "is sharded over processes (FSDP); load its full state_dict into a plain model"
    if is_sharded(module) and not shards:
        return (
            "is sharded over processes (FSDP2), which method.backward alone accepts, with "
            "fully_shard on the whole model too; load its full state_dict into a plain model"
        )
    if hasattr(module, "_packed_params"):
        return "holds quantized weights; pass the model as it was before quantization"
    return ""


def _state_reason(module: nn.Module, shards: bool) -> str:
    for name, value in module._parameters.items():
        if value is None:
            continue
        if value.is_meta:
            return f"has no values for {name!r}, which is on the device meta; load its weights first"
        if is_wrapped(value) and not (shards and is_shard(value)):
            return f"keeps {name!r} as a {type(value).__name__}; load its full values into a plain model"
    for name, tensor in (*module._parameters.items(), *module._buffers.items()):
        if tensor is not None and _holds_integers(name, tensor):
            return f"holds quantized weights ({name!r}, {tensor.dtype}); pass the model as it was before quantization"
    return ""


def is_wrapped(value: Tensor) -> bool:
    """Whether a tensor's operations are those of a subclass, which keeps its values elsewhere: DTensor, torchao."""
    return type(value).__torch_dispatch__ is not Tensor.__torch_dispatch__


def _holds_integers(name: str, tensor: Tensor) -> bool:
    """Whether a tensor is a weight in integers, by the names of bitsandbytes, GPTQ and AWQ, and HQQ."""
    is_integer = not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool)
    return is_integer and tensor.ndim > 1 and ("weight" in name or name == "W_q")


def _multiplies_in_graph(module: torch.fx.GraphModule) -> bool:
    """Whether a product of the graph has a matrix of the module, or a view or copy of it, as a factor."""
    matrices: set[torch.fx.Node] = set()
    for node in module.graph.nodes:
        inputs = node.all_input_nodes
        if node.op == "get_attr":
            value = _attribute(module, str(node.target))
            if isinstance(value, nn.Parameter) and value.ndim > 1:
                matrices.add(node)
        elif node.op in ("call_function", "call_method") and not matrices.isdisjoint(inputs):
            if PRODUCT.search(node.target if isinstance(node.target, str) else node.target.__name__):
                return True
            if len(inputs) == 1:
                matrices.add(node)
    return False


def _attribute(module: nn.Module, path: str) -> Any:
    value: Any = module
    for part in path.split("."):
        value = getattr(value, part, None)
    return value
