"""Detect a model that bypasses its arrays by multiplying with a layer's weight directly."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aimc_robust.errors import InputError

MATRIX_PRODUCTS = {
    F.linear, F.bilinear, F.conv1d, F.conv2d, F.conv3d, F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d,
    F.multi_head_attention_forward, torch.matmul, torch.mm, torch.bmm, torch.mv, torch.addmm, torch.einsum,
    torch.tensordot, Tensor.matmul, Tensor.__matmul__, Tensor.__rmatmul__, Tensor.mm, Tensor.mv,
}  # fmt: skip


class GuardedWeight(Tensor):
    """Weight of an analog layer as seen by a model's own code: any matrix product with it raises `InputError`."""

    layer_name: str

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in MATRIX_PRODUCTS:
            weight = next(x for x in (*args, *kwargs.values()) if isinstance(x, GuardedWeight))
            raise InputError(
                f"the model multiplies with the weight of the layer {weight.layer_name!r} by itself instead of calling "
                "the layer; its converters and read noise would have no effect. Call the layer, or leave out dac and "
                "adc and set read_noise=False."
            )
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **kwargs)


def guarded_weight(parameter: nn.Parameter, layer_name: str) -> Tensor:
    """View a parameter as a `GuardedWeight`."""
    tensor = parameter.as_subclass(GuardedWeight)
    tensor.layer_name = layer_name
    return tensor


class ForwardDepth:
    """Counter of the running forward passes of a programmed model, shared by its layers and by copies of the model."""

    def __init__(self) -> None:
        self._depth = 0

    @property
    def is_running(self) -> bool:
        """Whether a forward pass is running."""
        return self._depth > 0

    def attach(self, model: nn.Module) -> None:
        """Register hooks that count the forward passes of `model`."""
        model.register_forward_pre_hook(self._enter)
        model.register_forward_hook(self._exit, always_call=True)

    def _enter(self, *_: Any) -> None:
        self._depth += 1

    def _exit(self, *_: Any) -> None:
        self._depth -= 1

    def __deepcopy__(self, memo: Any) -> ForwardDepth:
        return self
