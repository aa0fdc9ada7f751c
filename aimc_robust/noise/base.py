"""Abstract base class of weight noise."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor


class WeightNoise(ABC):
    """Base class of anything that turns a named weight tensor into a perturbed one.

    Gaussian and Laplace noise are weight noises, and so is programming the weights onto a crossbar. Training,
    evaluation and sharpness analysis accept any weight noise.

    Attributes:
        supports_any_device: Whether `perturb` accepts a generator of any device. If False it gets a CPU generator.
    """

    supports_any_device: ClassVar[bool] = False

    @abstractmethod
    def perturb(self, name: str, weight: Tensor, generator: torch.Generator) -> Tensor:
        """Return a perturbed copy of a weight.

        Args:
            name: Name of the weight's layer, or of the parameter if it is not the weight of a layer.
            weight: Weight of any shape with filters along dimension 0; not modified.
            generator: Source of all randomness.

        Returns:
            Perturbed weight of the same shape, dtype and device.
        """


def standard_normal(like: Tensor, generator: torch.Generator) -> Tensor:
    """Draw standard normal numbers with the shape, device and dtype of a tensor.

    They are drawn in float32 on the generator's device whatever the dtype of `like`, so that a float64 copy of a model,
    or one on a GPU, sees the same chip.
    """
    draw = torch.randn(like.shape, generator=generator, device=generator.device, dtype=torch.float32)
    return draw.to(device=like.device, dtype=like.dtype)
