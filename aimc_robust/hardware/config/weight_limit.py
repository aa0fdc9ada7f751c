"""The weight that is mapped to the end of the programming window."""

import torch
from torch import Tensor


def weight_limit(weight: Tensor, percentile: float) -> Tensor:
    """Return the weight that is mapped to the end of the window, one for the whole layer (CrossSim 3.2).

    With percentile 1 it is max|W|. With percentile p < 1 it is max(|q_p|, |q_(1-p)|), where q is the linearly
    interpolated quantile of all entries; larger weights are clipped.
    """
    if percentile >= 1.0:
        return weight.abs().max()
    values = weight.flatten()
    return torch.maximum(_quantile(values, percentile).abs(), _quantile(values, 1.0 - percentile).abs())


def column_limits(matrix: Tensor, percentile: float) -> Tensor:
    """Return `weight_limit` of every output of a matrix (outputs, inputs) separately, as (outputs, 1)."""
    if percentile >= 1.0:
        return torch.linalg.vector_norm(matrix, ord=torch.inf, dim=1, keepdim=True)
    points = torch.tensor([percentile, 1.0 - percentile], dtype=matrix.dtype, device=matrix.device)
    return torch.quantile(matrix, points, dim=1, keepdim=True).abs().amax(dim=0)


def _quantile(values: Tensor, p: float) -> Tensor:
    # torch.quantile rejects more than 2**24 elements and sorts all of them; kthvalue does neither.
    position = p * (values.numel() - 1)
    below = int(position)
    low = values.kthvalue(below + 1).values
    high = values.kthvalue(min(below + 2, values.numel())).values
    return torch.lerp(low, high, position - below)
