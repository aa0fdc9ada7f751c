"""Sharpness: how much a loss rises at perturbed weights (Incorruptible paper, Sec. 3, Sharpness Measures).

Both leave the model's weights and buffers bit for bit as they were, and run it in the mode it is in.
"""

from collections.abc import Iterable

import torch
from torch import nn

from aimc_robust.errors import DataError, require_whole
from aimc_robust.noise.base import WeightNoise
from aimc_robust.noise.perturbation import perturbed
from aimc_robust.seeding import Axes
from aimc_robust.training.methods.base import frozen_buffers
from aimc_robust.training.methods.gradient_passes import Batch, LossFunction, LossPasses, scalar_loss
from aimc_robust.training.methods.sam import SAM


def average_sharpness(
    model: nn.Module,
    loss_fn: LossFunction,
    batches: Iterable[Batch],
    noise: WeightNoise,
    *,
    draws: int = 5,
    seed: int = 0,
) -> float:
    """Average-direction sharpness: mean over draws and batches of L_B(w + eps) - L_B(w), eps from `noise`."""
    require_whole("draws", draws, low=1)
    rises = []
    with frozen_buffers(model), torch.no_grad():
        for number, batch in enumerate(batches):
            clean = scalar_loss(model, loss_fn, batch)
            for draw in range(draws):
                axes = Axes(seed).at(use="sharpness", batch=number, draw=draw)
                with perturbed(model, noise, generator=axes):
                    rises.append(float(scalar_loss(model, loss_fn, batch) - clean))
    return _mean(rises)


def ascent_sharpness(model: nn.Module, loss_fn: LossFunction, batches: Iterable[Batch], *, rho: float) -> float:
    """Ascent-direction sharpness: mean over batches of L_B(w + rho g / ||g||) - L_B(w), g = grad L_B(w).

    The batch size is the m of m-sharpness.
    """
    method = SAM(rho=rho, per_worker=True)  # asks no other process, which may not be here
    rises = []
    with frozen_buffers(model):
        for batch in batches:
            clean = scalar_loss(model, loss_fn, batch).detach()
            with method.perturbation(model, LossPasses(model, loss_fn, [batch]), step=1), torch.no_grad():
                rises.append(float(scalar_loss(model, loss_fn, batch) - clean))
    return _mean(rises)


def _mean(rises: list[float]) -> float:
    if not rises:
        raise DataError("expected at least one batch of images and labels, got none.")
    return sum(rises) / len(rises)
