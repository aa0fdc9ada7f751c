"""Gaussian and Laplace weight noise."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from aimc_robust.errors import names_arguments, require_finite
from aimc_robust.noise.base import WeightNoise, standard_laplace, standard_normal
from aimc_robust.noise.scales import NoiseScale, check_scale, weight_scale
from aimc_robust.seeding import Axes


@names_arguments
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
    accepts_axes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_finite("sigma", self.sigma)
        check_scale(self.scale)

    def perturb(self, name: str, weight: Tensor, generator: torch.Generator | Axes) -> Tensor:
        """Return a perturbed copy of `weight`; see `WeightNoise.perturb`."""
        noise = standard_normal(weight, generator)
        return noise.mul_(weight_scale(weight, self.scale, layer=name) * float(self.sigma)).add_(weight)


@names_arguments
@dataclass(frozen=True)
class Laplace(WeightNoise):
    """Laplace weight noise: w' = w + b * scale(w) * Laplace(0, 1), one draw per weight.

    Its standard deviation is sqrt(2) * b * scale(w).

    Args:
        b: Laplace parameter in units of the scale, at least 0.
        scale: Unit of `b`, see `weight_scale`.
        matched_std: Divide the noise by sqrt(2), so that `b` is its standard deviation, comparable with
            `Gaussian(sigma=b)`.

    Raises:
        InputError: if `b` is invalid.
        UnknownNameError: if `scale` is unknown.

    References:
        Incorruptible paper, App. E and Table 6.
    """

    b: float
    scale: NoiseScale = "filter_max"
    matched_std: bool = False

    supports_any_device: ClassVar[bool] = True
    accepts_axes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_finite("b", self.b)
        check_scale(self.scale)

    def perturb(self, name: str, weight: Tensor, generator: torch.Generator | Axes) -> Tensor:
        """Return a perturbed copy of `weight`; see `WeightNoise.perturb`."""
        noise = standard_laplace(weight, generator)
        b = self.b / math.sqrt(2) if self.matched_std else float(self.b)
        return noise.mul_(weight_scale(weight, self.scale, layer=name) * b).add_(weight)
