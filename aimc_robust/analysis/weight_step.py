"""Deterministic step of a model's weights along a given direction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from aimc_robust.errors import InputError, require_finite
from aimc_robust.noise.base import WeightNoise


@dataclass(frozen=True, eq=False)
class WeightStep(WeightNoise):
    """Deterministic weight noise: w' = w + radius * direction.

    Args:
        directions: Layer name -> tensor of the weight's shape, filters along dimension 0.
        radius: Factor of the directions. If they have L2 norm 1 together, it is the length of the step in the units of
            the
            weights.
    """

    directions: Mapping[str, Tensor]
    radius: float

    def __post_init__(self) -> None:
        require_finite("radius", self.radius)

    def perturb(self, name: str, weight: Tensor, generator: torch.Generator) -> Tensor:
        """Return `weight` after the step of layer `name`."""
        direction = self.directions.get(name)
        if direction is None or direction.shape != weight.shape:
            raise InputError(
                f"this step has no direction for {name} of shape {tuple(weight.shape)}, only for the layers "
                f"{', '.join(self.directions)}. Use it on the model that its directions were made for."
            )
        return torch.add(weight, direction.to(weight), alpha=self.radius)
