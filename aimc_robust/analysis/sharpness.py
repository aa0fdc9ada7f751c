"""Sharpness: the increase of a loss at perturbed weights (Incorruptible paper, Sec. 3, Sharpness Measures).

Both measures leave the model's weights and buffers unchanged bit for bit, and run it in its current mode.
"""

from collections.abc import Iterable

import torch
from torch import nn

from aimc_robust.data.batches import split_whole
from aimc_robust.data.passes import as_tensors
from aimc_robust.errors import DataError, require_whole
from aimc_robust.noise.base import WeightNoise
from aimc_robust.noise.model_kinds import check_model
from aimc_robust.noise.perturbation import perturbed
from aimc_robust.seeding import Axes
from aimc_robust.tasks.batches import Batch
from aimc_robust.training.methods.gradient_passes import LossFunction, LossPasses, frozen_buffers, scalar_loss
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
    """Return the average-direction sharpness: the mean over draws and batches of L_B(w + eps) - L_B(w).

    Args:
        model: The model.
        loss_fn: Function (output, target) -> scalar loss.
        batches: (input, target) pairs.
        noise: Weight noise that eps is drawn from.
        draws: Draws per batch.
        seed: Root seed of the draws.

    Raises:
        DataError: If there is no batch.
        InputError: If an argument is invalid.
    """
    require_whole("draws", draws, low=1)
    check_model(model)
    increases = []
    with frozen_buffers(model), torch.no_grad():
        for number, batch in enumerate(map(as_tensors, split_whole(batches))):
            clean = scalar_loss(model, loss_fn, batch)
            for draw in range(draws):
                axes = Axes(seed).at(use="sharpness", batch=number, draw=draw)
                with perturbed(model, noise, generator=axes):
                    increases.append(float(scalar_loss(model, loss_fn, batch) - clean))
    return _mean(increases)


def ascent_sharpness(model: nn.Module, loss_fn: LossFunction, batches: Iterable[Batch], *, rho: float) -> float:
    """Return the ascent-direction sharpness: the mean over batches of L_B(w + rho g / ||g||_2) - L_B(w).

    Here g = grad L_B(w).

    Args:
        model: The model.
        loss_fn: Function (output, target) -> scalar loss.
        batches: (input, target) pairs; their size is the m of m-sharpness.
        rho: Radius, in the units of the weights.

    Raises:
        DataError: If there is no batch.
        InputError: If an argument is invalid.
    """
    check_model(model)
    method = SAM(rho=rho, per_worker=True)  # without communication: other processes may not call this
    increases = []
    with frozen_buffers(model):
        for batch in map(as_tensors, split_whole(batches)):
            clean = scalar_loss(model, loss_fn, batch).detach()
            with method.perturbation(model, LossPasses(model, loss_fn, [batch]), step=1), torch.no_grad():
                increases.append(float(scalar_loss(model, loss_fn, batch) - clean))
    return _mean(increases)


def _mean(increases: list[float]) -> float:
    if not increases:
        raise DataError("expected at least one batch of images and labels, got none.")
    return sum(increases) / len(increases)
