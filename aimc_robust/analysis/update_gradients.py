"""What a method's updates see: the loss and its gradient, at the clean weights and at the method's perturbed ones."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from aimc_robust.seeding import Axes
from aimc_robust.training.epoch import seeded
from aimc_robust.training.methods.base import Method, frozen_buffers
from aimc_robust.training.methods.gradient_passes import Batch, LossFunction, LossPasses, scalar_loss
from aimc_robust.training.methods.ramp import CONSTANT, Ramp

HELD = 10**12  # the update at which a held method stands


class Place(NamedTuple):
    """Loss and flattened gradient over all trainable parameters."""

    loss: Tensor
    gradient: Tensor


def measure_updates(
    model: nn.Module, method: Method, loss_fn: LossFunction, batches: Sequence[Batch], *, step: int, axes: Axes
) -> dict[str, float | None]:
    """gradient_norm, gradient_sharpness, gradient_cosine and full_strength_loss, each a mean over batches.

    The method perturbs with its strength at update `step`, with draws from `axes` that are the same at every step and
    others for each batch. A method of two batches takes the one before as its first. Random numbers of the model
    (dropout) are the same at both places, so that a difference is the perturbation's. Changes buffers and p.grad.
    Source: Incorruptible paper, Sec. 5.2 (averaged over minibatches), Figs. 4, 6, 15a and 16.
    """
    factor, perturbs = method.ramp.factor(max(step, 1)), method.shares[1] > 0
    found: dict[str, list[Tensor]] = {"gradient_norm": []}
    for name in ("gradient_sharpness", "gradient_cosine", "full_strength_loss"):
        found[name] = []
    for number in range(len(batches)):
        own = axes.at(batch=number)
        held = hold(method, factor, seed=own.seed())
        given = [batches[(number - back) % len(batches)] for back in reversed(range(held.batches_per_update))]
        with frozen_buffers(model):
            found["gradient_norm"].append(_update_norm(model, held, loss_fn, given, own))
        if not perturbs:
            continue
        clean, moved = _places(model, held, loss_fn, given, own)
        found["gradient_sharpness"].append(moved.loss - clean.loss)
        found["gradient_cosine"].append(
            moved.gradient @ clean.gradient / (moved.gradient.norm() * clean.gradient.norm())
        )
        full = moved if factor == 1.0 else _places(model, hold(method, 1.0, seed=own.seed()), loss_fn, given, own)[1]
        found["full_strength_loss"].append(full.loss)
    return {name: float(torch.stack(values).mean()) if values else None for name, values in found.items()}


def hold(method: Method, factor: float, *, seed: int) -> Method:
    """This method with its ramp's factor held at `factor` (above 0) at update HELD, alone on its process."""
    # A quadratic ramp is a straight line in strength: update / length.
    ramp = CONSTANT if factor == 1.0 else Ramp(shape="quadratic", updates=round(HELD / factor))
    alone = {"per_worker": True} | ({"parallel": False} if hasattr(method, "parallel") else {})
    return replace(method, ramp=ramp, seed=seed, **alone)


def _update_norm(
    model: nn.Module, method: Method, loss_fn: LossFunction, batches: Sequence[Batch], axes: Axes
) -> Tensor:
    parameters = [p for p in model.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.grad = None
    with seeded(axes, parameters[0].device):
        method.backward(model, loss_fn, batches, step=HELD)
    return torch.stack([p.grad.norm() for p in parameters if p.grad is not None]).norm()


def _places(
    model: nn.Module, method: Method, loss_fn: LossFunction, batches: Sequence[Batch], axes: Axes
) -> tuple[Place, Place]:
    """The clean and the perturbed place of an update, both on its last batch; over its parts and draws, a mean."""
    device = next(model.parameters()).device
    clean, moved = [], []
    for share, part in method.parts(batches):
        with frozen_buffers(model), seeded(axes, device):
            clean.append((share, _place(model, loss_fn, part[-1])))
        for draw in range(method.draws):
            passes = LossPasses(model, loss_fn, part)
            with frozen_buffers(model), seeded(axes, device):
                perturbation = method.perturbation(model, passes, step=HELD, draw=draw)
                with perturbation, seeded(axes, device):
                    moved.append((share / method.draws, _place(model, loss_fn, part[-1])))
    return _mean(clean), _mean(moved)


def _place(model: nn.Module, loss_fn: LossFunction, batch: Batch) -> Place:
    parameters = [p for p in model.parameters() if p.requires_grad]
    loss = scalar_loss(model, loss_fn, batch)
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    return Place(loss.detach(), torch.cat([gradient.flatten() for gradient in gradients]))


def _mean(places: Sequence[tuple[float, Place]]) -> Place:
    return Place(sum(share * p.loss for share, p in places), sum(share * p.gradient for share, p in places))
