"""The weight-noise protocol."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor


class WeightNoise(ABC):
    """Anything that turns a named weight tensor into a perturbed one.

    Gaussian and Laplace noise are weight noises, and so is programming the weights onto a crossbar: whatever
    accepts a weight noise (training, evaluation, sharpness) accepts each of them.

    any_device: whether `perturb` takes a generator of any device; else it gets the CPU's.
    """

    any_device: ClassVar[bool] = False

    @abstractmethod
    def perturb(self, name: str, weight: Tensor, generator: torch.Generator) -> Tensor:
        """A perturbed copy of `weight` (any shape, filters along dimension 0), same dtype and device.

        `name` is that of the weight's layer; of the parameter, when it is not a layer's weight. All randomness comes
        from `generator`; `weight` is left as it is.
        """


def standard_normal(like: Tensor, generator: torch.Generator) -> Tensor:
    """N(0, 1) of `like`'s shape, on its device and in its dtype.

    Drawn in float32 on the generator's device, whatever the dtype of `like`: a float64 copy of a model, or one on
    a GPU, meets the same chip.
    """
    draw = torch.randn(like.shape, generator=generator, device=generator.device, dtype=torch.float32)
    return draw.to(device=like.device, dtype=like.dtype)
