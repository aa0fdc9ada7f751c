"""Gradients of learned output scales: the digital factor of a layer or of each output column is trained too."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

OutputScales = Literal["layer", "column"]


class _WithScaleGradient(torch.autograd.Function):
    """The weights themselves; the gradient g of each group becomes g + <g, v> v, with v = w / max|w|."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, per: OutputScales) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.per = per
        return weight.view_as(weight)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, None]:
        (grad,), (weight,) = grads, ctx.saved_tensors
        dims = tuple(range(1 if ctx.per == "column" else 0, weight.ndim))
        largest = weight.abs().amax(dim=dims, keepdim=True).clamp(min=torch.finfo(weight.dtype).tiny)
        states = weight / largest
        return grad + (grad * states).sum(dim=dims, keepdim=True) * states, None


def with_scale_gradient(filters: Tensor, per: OutputScales) -> Tensor:
    """Return weights, filters first, whose gradient also trains the output scale of the layer or of each column.

    A weight is w = s v: its state v = w / max|w| in the array, times the digital scale s = max|w|. The gradient of s is
    <g, v>, with g that of w and the sum over the layer or over one output. A step along it changes w by <g, v> v. So
    one gradient descends in both, and the scale is part of the weights after every update.
    """
    scaled: Tensor = _WithScaleGradient.apply(filters, per)
    return scaled
