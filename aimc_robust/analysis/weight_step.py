"""Steps of the weights: along given directions, and of a given L2 norm as in the m-RWP paper's Fig. A1."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from aimc_robust.errors import InputError, require_finite
from aimc_robust.noise.analog_weights import analog_weights, unwrap_model
from aimc_robust.noise.base import WeightNoise
from aimc_robust.noise.perturbation import evaluation_mode
from aimc_robust.noise.scales import NoiseScale, weight_scale
from aimc_robust.seeding import Axes
from aimc_robust.tasks.batches import Batch
from aimc_robust.tasks.registry import as_task
from aimc_robust.tasks.task import Task
from aimc_robust.training.methods.gradient_passes import scalar_loss
from aimc_robust.training.methods.sam import NORM_EPSILON, global_norm


@dataclass(frozen=True, eq=False)
class WeightStep(WeightNoise):
    """Deterministic weight noise: w' = w + radius * direction, by layer, filters along dimension 0.

    If the directions have L2 norm 1 together, the radius is the length of the step in the units of the weights.
    """

    directions: Mapping[str, Tensor]
    radius: float

    def __post_init__(self) -> None:
        require_finite("radius", self.radius)

    def perturb(self, name: str, weight: Tensor, generator: torch.Generator | Axes) -> Tensor:
        """Return `weight` after the step of layer `name`."""
        direction = self.directions.get(name)
        if direction is None or direction.shape != weight.shape:
            raise InputError(
                f"this step has no direction for {name} of shape {tuple(weight.shape)}, only for the layers "
                f"{', '.join(self.directions)}. Use it on the model that its directions were made for."
            )
        return torch.add(weight, direction.to(weight), alpha=self.radius)


def sigma_for_radius(model: nn.Module, radius: float, scale: NoiseScale) -> float:
    """Return the sigma of Gaussian noise whose root mean square L2 norm on the model's analog weights is `radius`.

    It is sigma = radius / sqrt(sum over weights of scale(w)^2). The mean norm is smaller than the root mean square by a
    fraction of at most 1 / (4 n), for n weights of one scale. `radius` is in the units of the weights.

    Raises:
        InputError: If no weight has a scale above 0.
        UnknownNameError: If the scale is unknown.
    """
    require_finite("radius", radius)
    squares = [
        float(weight_scale(matrix.filters_first().double(), scale).expand_as(matrix.filters_first()).square().sum())
        for matrix in analog_weights(unwrap_model(model)).values()
    ]
    norm = math.sqrt(math.fsum(squares))
    if not 0.0 < norm < math.inf:
        raise InputError(
            f"noise of scale {scale} has no finite norm above 0 on {type(model).__name__}: it has no analog weights, "
            "or they are all 0 or not finite; pass a trained model."
        )
    return radius / norm


def ascent_step(model: nn.Module, batch: Batch, radius: float, task: Task | None = None) -> WeightStep:
    """Return the step radius * g / ||g||_2 of the analog weights, with g the gradient of the loss of one batch.

    This is SAM's perturbation of a trained model (m-RWP paper, Eq. 3; Foret et al., ICLR 2021): the loss is that of
    the task (None: classification) without label smoothing in evaluation mode, and one norm is taken over all weights.
    The model, its mode and its gradients are unchanged. The number of inputs is the m of m-sharpness.

    Raises:
        InputError: If the loss uses no trainable analog weight.
    """
    model = unwrap_model(model)
    matrices = [matrix for matrix in analog_weights(model).values() if matrix.parameter.requires_grad]
    if not matrices:
        raise InputError(
            f"{type(model).__name__} has no trainable analog weight (convolution, linear, attention, recurrent), so "
            "there is no gradient to ascend along."
        )
    with evaluation_mode(model), torch.enable_grad():
        loss = scalar_loss(model, as_task(task), batch)
        gradients = torch.autograd.grad(loss, [m.parameter for m in matrices], allow_unused=True)
    if all(gradient is None for gradient in gradients):
        raise InputError(f"the loss of {type(model).__name__} uses no analog weight; pass another model.")
    filled = [
        torch.zeros_like(matrix.parameter) if gradient is None else gradient
        for matrix, gradient in zip(matrices, gradients, strict=True)
    ]
    inverse_norm = 1.0 / (global_norm(filled) + NORM_EPSILON)
    directions = {
        m.layer: m.filters_first(g * inverse_norm).contiguous() for m, g in zip(matrices, filled, strict=True)
    }
    frozen = [m for m in analog_weights(model).values() if not m.parameter.requires_grad]
    return WeightStep(directions | {m.layer: torch.zeros_like(m.filters_first()) for m in frozen}, radius)
