"""Detect code that multiplies with a weight in another way than through its layer, and would bypass the devices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.hooks import RemovableHandle

from aimc_robust.errors import InputError

PRODUCTS = {
    "linear", "bilinear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
    "multi_head_attention_forward", "scaled_dot_product_attention", "matmul", "__matmul__", "__rmatmul__", "mm", "bmm",
    "mv", "addmm", "addmv", "addbmm", "baddbmm", "addr", "einsum", "tensordot", "inner", "dot", "vdot", "outer", "ger",
    "chain_matmul", "multi_dot", "kron", "cdist", "_grouped_mm", "_scaled_mm",
}  # fmt: skip
SAME_VALUES = {
    "to", "type", "type_as", "float", "half", "bfloat16", "double", "cpu", "cuda", "detach", "data", "clone",
    "contiguous", "requires_grad_", "t", "T", "mT", "H", "transpose", "swapaxes", "swapdims", "permute", "movedim",
    "view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "expand", "expand_as", "narrow", "select",
    "chunk", "split", "unbind", "__getitem__",
}  # fmt: skip
WRITING_OPERATORS = {
    "__setitem__", "__iadd__", "__isub__", "__imul__", "__itruediv__", "__ifloordiv__", "__imod__", "__ipow__",
    "__iand__", "__ior__", "__ixor__",
}  # fmt: skip
LIKE = ("zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like", "new_")

Call = Callable[..., Tensor]


class GuardedWeight(Tensor):
    """Weight of an analog layer as seen by a model's own code, and all that is computed from it.

    Attributes:
        guard: What a product with it does.
        is_computed: Whether its values are no longer those of the weight.
        is_whole: Whether it is the weight itself, or a copy in another type.
        is_parameter: Whether it shares its memory with the parameter.
    """

    guard: WeightGuard
    is_computed: bool
    is_whole: bool
    is_parameter: bool

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name: str = func.__name__ if func.__name__ not in ("__get__", "__set__") else func.__self__.__name__
        weights = [x for x in tree_leaves((args, kwargs)) if isinstance(x, GuardedWeight)]
        if name in PRODUCTS or (name.endswith("_") and name.rstrip("_") in PRODUCTS):
            return weights[0].guard.multiply(func, args, kwargs, weights)
        target = kwargs.get("out", args[0] if args and _writes(name) else None)
        if isinstance(target, Tensor):
            target = target if isinstance(target, GuardedWeight) else None
            if target is None or target.is_parameter:  # what is written into hides where its values come from
                raise computes_its_weight(weights[0].guard.layer)
            target.is_computed, target.is_whole = True, False
        if name in ("numpy", "tolist", "__array__") and weights[0].numel() > 1:
            raise computes_its_weight(weights[0].guard.layer)
        with torch._C.DisableTorchFunctionSubclass():
            out = func(*args, **kwargs)
        if name.startswith(LIKE):
            return out
        keeps = name in SAME_VALUES

        def mark(x: Any) -> Any:
            if not isinstance(x, Tensor) or x is target or (x.numel() <= 1 and not keeps):
                return x
            whole = keeps and weights[0].is_whole and x.shape == weights[0].shape and name not in ("T", "t", "mT", "H")
            marked = weights[0].guard.mark(x, is_computed=weights[0].is_computed or not keeps, is_whole=whole)
            storage = x.untyped_storage().data_ptr()
            marked.is_parameter = any(w.is_parameter and w.untyped_storage().data_ptr() == storage for w in weights)
            return marked

        return tree_map(mark, out)

    def __deepcopy__(self, memo: dict[int, Any]) -> GuardedWeight:
        with torch._C.DisableTorchFunctionSubclass():
            values = self.detach().clone()
        copied = self.guard.mark(values, is_computed=self.is_computed, is_whole=self.is_whole)
        memo[id(self)] = copied
        return copied


def _writes(name: str) -> bool:
    """Whether an operation of this name writes into its first argument."""
    return name in WRITING_OPERATORS or (name.endswith("_") and not name.startswith("__") and name not in SAME_VALUES)


class WeightGuard:
    """Refuses products with a weight outside of its layer.

    Args:
        layer: Name of the layer.
    """

    def __init__(self, layer: str) -> None:
        self.layer = layer

    def mark(self, tensor: Tensor, *, is_computed: bool = False, is_whole: bool = True) -> GuardedWeight:
        """View a tensor as a `GuardedWeight`."""
        guarded = tensor.as_subclass(GuardedWeight)
        guarded.guard, guarded.is_computed, guarded.is_whole, guarded.is_parameter = self, is_computed, is_whole, True
        return guarded

    def multiply(self, func: Call, args: Any, kwargs: Any, weights: list[GuardedWeight]) -> Any:
        """Refuse the product; subclasses compute it where it is right."""
        raise bypassed(self.layer)


class ProgrammedWeightGuard(WeightGuard):
    """Refuses products with what a layer computes from its programmed weight; products with the weight are right."""

    def multiply(self, func: Call, args: Any, kwargs: Any, weights: list[GuardedWeight]) -> Any:
        """Compute the product if no factor is computed from the weight."""
        if any(weight.is_computed for weight in weights):
            raise computes_its_weight(self.layer)
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **kwargs)


def bypassed(layer: str) -> InputError:
    """Error for a model that multiplies with a layer's weight."""
    return InputError(
        f"the model multiplies with the weight of the layer {layer!r} by itself instead of calling the layer; its "
        "converters and read noise would have no effect. Call the layer, or leave out dac and adc and set "
        "read_noise=False."
    )


def computes_its_weight(layer: str) -> InputError:
    """Error for a layer that multiplies with something else than its weight."""
    return InputError(
        f"the layer {layer!r} multiplies with values that it computes from its weight (weight standardization, fake "
        "quantization, a mask), where devices would store the weight itself. Compute the values once, make them the "
        "weight of a plain layer, and program that model."
    )


class ForwardDepth:
    """Counter of the running forward passes of a programmed model, shared by its layers and by copies of the model."""

    def __init__(self) -> None:
        self._depth, self._calls = 0, Counter[Hashable]()

    @property
    def is_running(self) -> bool:
        """Whether a forward pass is running."""
        return self._depth > 0

    def attach(self, model: nn.Module) -> list[RemovableHandle]:
        """Register hooks that count the forward passes of `model`, and refuse results that bypass arrays."""
        enter = model.register_forward_pre_hook(self._enter)
        return [enter, model.register_forward_hook(self._exit, always_call=True)]

    def count_call(self, caller: Hashable) -> int:
        """Count a call in the running forward pass of the whole model; return the number of earlier ones by `caller`.

        Outside of a forward pass it is 0.
        """
        earlier = self._calls[caller]
        self._calls[caller] += self.is_running
        return earlier

    def _enter(self, *_: Any) -> None:
        if not self.is_running:
            self._calls.clear()
        self._depth += 1

    def _exit(self, module: nn.Module, args: Any, output: Any) -> None:
        self._depth -= 1
        if not self.is_running:
            self._calls.clear()
        for x in tree_leaves(output):
            if isinstance(x, GuardedWeight) and x.is_computed:
                raise bypassed(x.guard.layer)

    def __deepcopy__(self, memo: Any) -> ForwardDepth:
        return self
