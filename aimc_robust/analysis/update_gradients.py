"""Loss and gradient of a method's updates, at the clean weights and at the method's perturbed weights."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from aimc_robust.noise.perturbation import frozen_buffers
from aimc_robust.seeding import Axes
from aimc_robust.tasks.batches import Batch
from aimc_robust.training.epoch import seeded
from aimc_robust.training.methods.base import Method
from aimc_robust.training.methods.gradient_passes import LossFunction, LossPasses, scalar_loss
from aimc_robust.training.methods.ramp import CONSTANT_RAMP, Ramp

FIXED_STEP = 10**12  # the update number of a method with fixed strength


class LossGradient(NamedTuple):
    """Loss (scalar) and gradient (parameters,), flattened over all trainable parameters."""

    loss: Tensor
    gradient: Tensor


def measure_updates(
    model: nn.Module, method: Method, loss_fn: LossFunction, batches: Sequence[Batch], *, step: int, axes: Axes
) -> dict[str, float | None]:
    """Measure gradient_norm, gradient_sharpness, gradient_cosine and full_strength_loss, each a mean over batches.

    The method perturbs with its strength at update `step`; one of two batches uses the previous batch as its first.
    Random numbers derive from `axes`: they are the same at every step, and those of the model (dropout) the same at
    clean and perturbed weights, so that a difference is due to the perturbation. Changes the model's buffers and
    p.grad. See the Incorruptible paper, Sec. 5.2, Figs. 4, 6, 15a and 16.

    Returns:
        The means; None for a method without perturbation, except for gradient_norm.
    """
    factor, perturbs = method.ramp.factor(max(step, 1)), method.gradient_weights[1] > 0
    values: dict[str, list[Tensor]] = {"gradient_norm": []}
    for name in ("gradient_sharpness", "gradient_cosine", "full_strength_loss"):
        values[name] = []
    for index in range(len(batches)):
        batch_axes = axes.at(batch=index)
        fixed = with_fixed_strength(method, factor, seed=batch_axes.seed())
        update = update_batches(fixed, batches, index)
        with frozen_buffers(model):
            values["gradient_norm"].append(_update_norm(model, fixed, loss_fn, update, batch_axes))
        if not perturbs:
            continue
        clean, perturbed = clean_and_perturbed(model, fixed, loss_fn, update, batch_axes)
        values["gradient_sharpness"].append(perturbed.loss - clean.loss)
        values["gradient_cosine"].append(
            perturbed.gradient @ clean.gradient / (perturbed.gradient.norm() * clean.gradient.norm())
        )
        if factor != 1.0:
            full = with_fixed_strength(method, 1.0, seed=batch_axes.seed())
            perturbed = clean_and_perturbed(model, full, loss_fn, update, batch_axes)[1]
        values["full_strength_loss"].append(perturbed.loss)
    return {name: float(torch.stack(series).mean()) if series else None for name, series in values.items()}


def update_batches(method: Method, batches: Sequence[Batch], index: int) -> list[Batch]:
    """Return the batches of the update that ends with batch `index`: those before it, then itself."""
    return [batches[(index - back) % len(batches)] for back in reversed(range(method.batches_per_update))]


def with_fixed_strength(method: Method, factor: float, *, seed: int) -> Method:
    """Return this method with its ramp's factor (above 0, at most 1) fixed at FIXED_STEP, on one process."""
    # Strength grows linearly along a quadratic ramp: factor = update / length.
    ramp = CONSTANT_RAMP if factor == 1.0 else Ramp(shape="quadratic", updates=round(FIXED_STEP / factor))
    changes: dict[str, Any] = {"ramp": ramp, "seed": seed, "per_worker": True}
    if hasattr(method, "parallel"):
        changes["parallel"] = False
    return replace(method, **changes)


def _update_norm(
    model: nn.Module, method: Method, loss_fn: LossFunction, batches: Sequence[Batch], axes: Axes
) -> Tensor:
    """Return the L2 norm of an update's gradient."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.grad = None
    with seeded(axes, parameters[0].device):
        method.backward(model, loss_fn, batches, step=FIXED_STEP)
    return torch.stack([p.grad.norm() for p in parameters if p.grad is not None]).norm()


def clean_and_perturbed(
    model: nn.Module, method: Method, loss_fn: LossFunction, batches: Sequence[Batch], axes: Axes
) -> tuple[LossGradient, LossGradient]:
    """Return loss and gradient on an update's last batch, as means over its micro-batches and draws."""
    device = next(model.parameters()).device
    clean, perturbed = [], []
    for weight, micro_batch in method.micro_batches(batches):
        with frozen_buffers(model), seeded(axes, device), method.with_faults(model):
            clean.append((weight, _loss_gradient(model, loss_fn, micro_batch[-1])))
        for draw in range(method.draws):
            passes = LossPasses(model, loss_fn, micro_batch)
            with frozen_buffers(model), seeded(axes, device):
                perturbation = method.perturbation(model, passes, step=FIXED_STEP, draw=draw)
                faults = nullcontext() if method.programs_weights else method.with_faults(model)
                with faults, perturbation, seeded(axes, device):
                    perturbed.append((weight / method.draws, _loss_gradient(model, loss_fn, micro_batch[-1])))
    return _weighted_sum(clean), _weighted_sum(perturbed)


def _loss_gradient(model: nn.Module, loss_fn: LossFunction, batch: Batch) -> LossGradient:
    parameters = [p for p in model.parameters() if p.requires_grad]
    loss = scalar_loss(model, loss_fn, batch)
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    return LossGradient(loss.detach(), torch.cat([gradient.flatten() for gradient in gradients]))


def _weighted_sum(terms: Sequence[tuple[float, LossGradient]]) -> LossGradient:
    losses = [weight * term.loss for weight, term in terms]
    gradients = [weight * term.gradient for weight, term in terms]
    return LossGradient(sum(losses, torch.zeros_like(losses[0])), sum(gradients, torch.zeros_like(gradients[0])))
