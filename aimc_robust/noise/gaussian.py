"""Gaussian weight noise."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from aimc_robust.errors import require_finite
from aimc_robust.noise.base import WeightNoise, standard_normal
from aimc_robust.noise.scales import NoiseScale, check_scale, weight_scale


@dataclass(frozen=True)
class Gaussian(WeightNoise):
    """Gaussian weight noise: w' = w + sigma * scale(w) * N(0, 1), one draw per weight.

    Args:
        sigma: Standard deviation in units of the scale, at least 0.
        scale: Unit of `sigma`, see `weight_scale`.

    Raises:
        InputError: if `sigma` is invalid.
        UnknownNameError: if `scale` is unknown.

    References:
        Incorruptible paper, Sec. 3 (filter_max); m-RWP paper, Sec. 3 (filter_norm).
    """

    sigma: float
    scale: NoiseScale = "filter_max"

    supports_any_device: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_finite("sigma", self.sigma)
        check_scale(self.scale)

    def perturb(self, name: str, weight: Tensor, generator: torch.Generator) -> Tensor:
        """Return a perturbed copy of `weight`; see `WeightNoise.perturb`."""
        noise = standard_normal(weight, generator)
        return noise.mul_(weight_scale(weight, self.scale) * float(self.sigma)).add_(weight)
