"""Laplace weight noise."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from aimc_robust.errors import require_finite
from aimc_robust.noise.base import WeightNoise
from aimc_robust.noise.scales import check_scale, weight_scale


@dataclass(frozen=True)
class Laplace(WeightNoise):
    """w' = w + b * scale(w) * Laplace(0, 1), one draw per weight; its standard deviation is sqrt(2) * b * scale(w).

    b: the Laplace parameter in units of the scale, 0 or more. With `matched_std` the noise is divided by sqrt(2),
    so that b is its standard deviation and compares with Gaussian(sigma=b).
    Source: Incorruptible paper, App. E and Table 6.
    """

    b: float
    scale: str = "filter_max"
    matched_std: bool = False

    any_device: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_finite("b", self.b)
        check_scale(self.scale)

    def perturb(self, name: str, weight: Tensor, generator: torch.Generator) -> Tensor:
        # The difference of two standard exponentials is Laplace(0, 1), without the log(0) of an inverse CDF.
        draws = torch.empty((2, *weight.shape), device=generator.device, dtype=torch.float32)
        draws.exponential_(generator=generator)
        noise = (draws[0] - draws[1]).to(device=weight.device, dtype=weight.dtype)
        b = self.b / math.sqrt(2) if self.matched_std else self.b
        return noise.mul_(weight_scale(weight, self.scale) * b).add_(weight)
