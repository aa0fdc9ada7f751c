"""How weights are stored in devices, and which weight is mapped to the end of the programming window."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from aimc_robust.errors import InputError, require_finite, require_known, require_whole
from aimc_robust.hardware.config.mapping import WeightMapping
from aimc_robust.hardware.config.standard_mappings import OneSided
from aimc_robust.noise.model_kinds import require_real_values

Scaling = Literal["layer", "column"]


@dataclass(frozen=True, kw_only=True)
class WeightLayout:
    """How weights are stored in devices: the options of `Crossbar` with the same names.

    Raises:
        InputError: if a value is invalid.
        UnknownNameError: if `scaling` is unknown.
    """

    mapping: WeightMapping = OneSided()  # noqa: RUF009, a frozen value
    scaling: Scaling = "layer"
    weight_percentile: float = 1.0
    cell_bits: int = 0

    def __post_init__(self) -> None:
        require_whole("cell_bits (0: continuous)", self.cell_bits, low=0, high=16)
        self.mapping.check_cell_bits(self.cell_bits)
        require_finite("weight_percentile", self.weight_percentile, low=0.5, high=1.0)
        require_known("scaling", self.scaling, get_args(Scaling))

    def weight_limit(self, matrix: Tensor, *, layer: str = "", checked: bool = True) -> Tensor:
        """Return the weight at the end of the window for weights (outputs, inputs): a scalar, or (outputs, 1).

        `checked`: whether weights have to be finite, which waits for a GPU.

        Raises:
            InputError: if there are no weights, they are complex or not finite, or the weight percentile is 0.
        """
        require_real_values(matrix, layer=layer)
        named = f"the layer {layer!r}" if layer else "this layer"
        if checked and not all_finite(matrix):
            raise InputError(f"weights to be programmed must be finite; {named} holds NaN or infinity.")
        limit = (layer_limit if self.scaling == "layer" else _column_limits)(matrix, self.weight_percentile)
        if self.weight_percentile >= 1.0:  # the largest weight: where it is 0, all are
            return limit
        rows = matrix if limit.ndim else matrix.reshape(1, -1)
        if (limit == 0).any() and rows[limit.flatten() == 0].any():
            raise InputError(
                f"weight_percentile {self.weight_percentile:g} of {named} is 0, since most of its weights are 0; "
                "all weights would be clipped to 0. Use a higher percentile."
            )
        return limit


def relative_weights(matrix: Tensor, limit: Tensor) -> Tensor:
    """Return the weights relative to the weight at the end of the window, clipped to -1 and 1."""
    return (matrix / nonzero(limit)).clamp_(-1.0, 1.0)


def nonzero(limit: Tensor) -> Tensor:
    """Return limits to divide by, 1 where the limit is 0; the smallest numbers (1e-42) stay as they are."""
    return torch.where(limit == 0, 1.0, limit)


def all_finite(values: Tensor) -> bool:
    """Whether no value is NaN or infinite."""
    # The sum is three times as fast as a test of every element, but may overflow where all are finite.
    return math.isfinite(values.sum()) or bool(torch.isfinite(values).all())


def layer_limit(weight: Tensor, percentile: float) -> Tensor:
    """Return the weight that is mapped to the end of the window, one for the whole layer (CrossSim 3.2).

    With percentile 1 it is max|W|. With percentile p < 1 it is max(|q_p|, |q_(1-p)|), where q is the linearly
    interpolated quantile of all entries; larger weights are clipped.
    """
    if percentile >= 1.0:
        return torch.maximum(*(end.abs() for end in weight.aminmax()))
    values = weight.flatten()
    return torch.maximum(_quantile(values, percentile).abs(), _quantile(values, 1.0 - percentile).abs())


def _column_limits(matrix: Tensor, percentile: float) -> Tensor:
    """`layer_limit` of every output separately."""
    if percentile >= 1.0:
        return matrix.abs().amax(dim=1, keepdim=True)
    points = torch.tensor([percentile, 1.0 - percentile], dtype=matrix.dtype, device=matrix.device)
    return torch.quantile(matrix, points, dim=1, keepdim=True).abs().amax(dim=0)


def _quantile(values: Tensor, p: float) -> Tensor:
    # torch.quantile rejects more than 2**24 elements and sorts all of them; kthvalue does neither.
    position = p * (values.numel() - 1)
    below = int(position)
    low = values.kthvalue(below + 1).values
    high = values.kthvalue(min(below + 2, values.numel())).values
    return torch.lerp(low, high, position - below)
