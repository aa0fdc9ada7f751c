"""Scales that make a noise strength sigma relative to the weights; published definitions differ by 7 to 18 times."""

from typing import Literal, get_args

import torch
from torch import Tensor

from aimc_robust.errors import require_known
from aimc_robust.noise.model_kinds import require_real_values

NoiseScale = Literal["filter_max", "filter_norm", "layer_max", "absolute"]
"""Unit of a noise strength; see `weight_scale`."""

SCALES: tuple[NoiseScale, ...] = get_args(NoiseScale)


def check_scale(scale: str) -> None:
    """Raise `UnknownNameError` unless `scale` is a `NoiseScale`."""
    require_known("scale", scale, SCALES)


def weight_scale(weight: Tensor, scale: NoiseScale, *, layer: str = "") -> Tensor:
    """Compute the factor that multiplies sigma, broadcastable to `weight`, in units of the weight.

    `filter_max`: max|w| of each filter (Incorruptible paper, Sec. 3). `filter_norm`: ||w||_2 of each filter, without
    division by sqrt(n) (m-RWP paper, Sec. 3). `layer_max`: max|W|. `absolute`: 1. A filter is one entry of dimension 0;
    a tensor of fewer than 2 dimensions is one filter.

    Raises:
        InputError: if the weight, that of `layer`, has no elements, or complex ones.
    """
    check_scale(scale)
    require_real_values(weight, layer=layer)
    weight = weight.detach()
    if scale == "absolute":
        return weight.new_ones(())
    if scale == "layer_max":
        return weight.abs().max()
    filters = weight.flatten(1) if weight.ndim >= 2 else weight.reshape(1, -1)
    # torch's norm of order infinity takes six times as long on a CPU.
    sizes = filters.abs().amax(dim=1) if scale == "filter_max" else torch.linalg.vector_norm(filters, dim=1)
    return sizes.reshape(-1, *[1] * (weight.ndim - 1)) if weight.ndim >= 2 else sizes.reshape([1] * weight.ndim)
