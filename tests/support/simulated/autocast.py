"""Autocast of the simulated device: products in the lower precision, losses in float32, as torch does on a CPU."""

import torch
from support.simulated.tensor import BACKEND
from torch.utils._pytree import tree_map

PRODUCTS = ("linear", "matmul", "mm", "bmm", "addmm", "baddbmm", "conv1d", "conv2d", "conv3d", "conv_transpose1d")
PRODUCTS += ("conv_transpose2d.input", "conv_transpose3d.input", "scaled_dot_product_attention")
LOSSES = ("cross_entropy_loss", "nll_loss", "nll_loss2d", "mse_loss", "binary_cross_entropy_with_logits", "kl_div")


def libraries():
    """The libraries of its operations, which end with them."""
    others = torch.library.Library("_", "IMPL")
    others.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    own = torch.library.Library("aten", "IMPL")
    for names, lower in ((PRODUCTS, True), (LOSSES, False)):
        for name in names:
            packet, _, overload = name.partition(".")
            operation = getattr(getattr(torch.ops.aten, packet), overload or "default")
            own.impl(name, _cast(operation, lower=lower), "AutocastPrivateUse1")
    return [others, own]


def _cast(operation, *, lower):
    keys = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)

    def call(*args, **kwargs):
        dtype = torch.get_autocast_dtype(BACKEND) if lower else torch.float32

        def convert(value):
            is_cast = isinstance(value, torch.Tensor) and value.is_floating_point() and value.dtype != torch.float64
            return value.to(dtype) if is_cast else value

        with torch._C._ExcludeDispatchKeyGuard(keys):
            return operation(*tree_map(convert, args), **tree_map(convert, kwargs))

    return call
