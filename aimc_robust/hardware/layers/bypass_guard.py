"""Notice a model that goes around its arrays by multiplying with a layer's weight itself."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aimc_robust.errors import InputError

MULTIPLIES = {
    F.linear, F.bilinear, F.conv1d, F.conv2d, F.conv3d, F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d,
    F.multi_head_attention_forward, torch.matmul, torch.mm, torch.bmm, torch.mv, torch.addmm, torch.einsum,
    torch.tensordot, Tensor.matmul, Tensor.__matmul__, Tensor.__rmatmul__, Tensor.mm, Tensor.mv,
}  # fmt: skip


class GuardedWeight(Tensor):
    """A weight on arrays, as a model's code may read it: a tensor that refuses to be multiplied with inputs."""

    layer: str

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in MULTIPLIES:
            mine = next(x for x in (*args, *kwargs.values()) if isinstance(x, GuardedWeight))
            raise InputError(
                f"the model multiplies with the weight of the layer {mine.layer!r} by itself instead of calling the "
                "layer; its converters and read noise would have no effect. Call the layer, or leave out dac and adc "
                "and set read_noise=False."
            )
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **kwargs)


def guarded_weight(parameter: nn.Parameter, layer: str) -> Tensor:
    """`parameter` as code outside of its layer sees it."""
    tensor = parameter.as_subclass(GuardedWeight)
    tensor.layer = layer
    return tensor


class ForwardDepth:
    """Whether a programmed model is running; shared by its layers, and with copies of the model."""

    def __init__(self) -> None:
        self.depth = 0

    def watch(self, model: nn.Module) -> None:
        """Follow the forward passes of `model`."""
        model.register_forward_pre_hook(self.begin)
        model.register_forward_hook(self.end, always_call=True)

    def begin(self, *_: Any) -> None:
        self.depth += 1

    def end(self, *_: Any) -> None:
        self.depth -= 1

    def __deepcopy__(self, memo: Any) -> ForwardDepth:
        return self
