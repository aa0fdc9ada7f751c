"""Scales that make a noise strength sigma relative to the weights; published definitions differ by 7 to 18 times."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from aimc_robust.errors import require_known

NoiseScale = Literal["filter_max", "filter_norm", "layer_max", "absolute"]
"""Unit of a noise strength; see `weight_scale`."""


def _filters(weight: Tensor) -> Tensor:
    """`weight` as (filters, weights per filter)."""
    return weight.flatten(1) if weight.ndim >= 2 else weight.reshape(1, -1)


def _per_filter(values: Tensor, weight: Tensor) -> Tensor:
    """One value per filter, broadcastable to `weight`."""
    return values.reshape(-1, *[1] * (weight.ndim - 1)) if weight.ndim >= 2 else values.reshape([1] * weight.ndim)


def _filter_max(weight: Tensor) -> Tensor:
    return _per_filter(torch.linalg.vector_norm(_filters(weight), ord=torch.inf, dim=1), weight)


def _filter_norm(weight: Tensor) -> Tensor:
    return _per_filter(torch.linalg.vector_norm(_filters(weight), dim=1), weight)


def _layer_max(weight: Tensor) -> Tensor:
    return weight.abs().max()


def _absolute(weight: Tensor) -> Tensor:
    return weight.new_ones(())


SCALES: dict[NoiseScale, Callable[[Tensor], Tensor]] = {
    "filter_max": _filter_max,
    "filter_norm": _filter_norm,
    "layer_max": _layer_max,
    "absolute": _absolute,
}


def check_scale(scale: str) -> None:
    """Raise `UnknownNameError` unless `scale` is a `NoiseScale`."""
    require_known("scale", scale, SCALES)


def weight_scale(weight: Tensor, scale: NoiseScale) -> Tensor:
    """Compute the factor that multiplies sigma, broadcastable to `weight`, in units of the weight.

    `filter_max`: max|w| of each filter (Incorruptible paper, Sec. 3). `filter_norm`: ||w||_2 of each filter, without
    division by sqrt(n) (m-RWP paper, Sec. 3). `layer_max`: max|W|. `absolute`: 1. A filter is one entry of dimension 0;
    a tensor of fewer than 2 dimensions is one filter.
    """
    check_scale(scale)
    return SCALES[scale](weight.detach())
