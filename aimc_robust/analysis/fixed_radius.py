"""Perturbations of a given L2 length, random or up the loss gradient: the two of the m-RWP paper's Fig. A1."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aimc_robust.analysis.weight_step import Step
from aimc_robust.errors import InputError, require_finite
from aimc_robust.noise.analog_weights import analog_weights
from aimc_robust.noise.scales import weight_scale
from aimc_robust.noise.unwrap import unwrapped
from aimc_robust.training.methods.ascent import TINY, global_norm


def sigma_for_radius(model: nn.Module, radius: float, scale: str) -> float:
    """The sigma at which Gaussian noise of `scale` on the model's analog weights has the L2 length `radius`.

        sigma = radius / sqrt(sum over weights of scale(w)^2)

    Length: the root of the expected square, over all weights together. The expected length itself is shorter by at
    most a share of 1 / (4 n) for n weights of one scale. radius: in the units of the weights.
    Raises InputError when no weight has a scale above 0; UnknownNameError for an unknown scale.
    """
    require_finite("radius", radius)
    squares = [
        float(weight_scale(matrix.filters_first().double(), scale).expand_as(matrix.filters_first()).square().sum())
        for matrix in analog_weights(unwrapped(model)).values()
    ]
    length = math.sqrt(math.fsum(squares))
    if not 0.0 < length < math.inf:
        raise InputError(
            f"noise of scale {scale} has no length on {type(model).__name__}: its weights are all 0, not finite, or "
            "none that an array holds; give a trained model."
        )
    return radius / length


def ascent_noise(model: nn.Module, inputs: Tensor, labels: Tensor, radius: float) -> Step:
    """The step radius * g / ||g||_2 on the model's analog weights, g the gradient of its loss over one batch.

    SAM's perturbation (m-RWP paper, Eq. 3; Foret et al., ICLR 2021) of a finished model: the loss is the mean
    cross-entropy without label smoothing, taken in evaluation mode, and one norm goes over all the weights.
    inputs (N, ...), labels (N,) int64: the batch, on the model's device; N is the m of m-sharpness.
    The model, its mode and its gradients stay as they are.
    Raises InputError when there is nothing to ascend along: no trainable weight of an array takes part in the loss.
    """
    model = unwrapped(model)
    matrices = [matrix for matrix in analog_weights(model).values() if matrix.parameter.requires_grad]
    if not matrices:
        raise InputError(
            f"{type(model).__name__} has no trainable weight that an array holds (convolution, linear, attention, "
            "recurrent), so there is no gradient to step along."
        )
    with _evaluating(model), torch.enable_grad():
        loss = F.cross_entropy(model(inputs), labels)
        gradients = torch.autograd.grad(loss, [m.parameter for m in matrices], allow_unused=True)
    if all(gradient is None for gradient in gradients):
        raise InputError(f"the loss of {type(model).__name__} uses no weight that an array holds; give another model.")
    found = [
        torch.zeros_like(matrix.parameter) if gradient is None else gradient
        for matrix, gradient in zip(matrices, gradients, strict=True)
    ]
    share = 1.0 / (global_norm(found) + TINY)
    directions = {m.layer: m.filters_first(g * share).contiguous() for m, g in zip(matrices, found, strict=True)}
    frozen = [m for m in analog_weights(model).values() if not m.parameter.requires_grad]
    return Step(directions | {m.layer: torch.zeros_like(m.filters_first()) for m in frozen}, radius)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; each module's own mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
