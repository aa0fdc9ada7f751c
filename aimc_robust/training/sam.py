"""Sharpness-aware minimization."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from aimc_robust.errors import InputError, require_finite
from aimc_robust.noise.perturb import restored
from aimc_robust.noise.scope import weights_in_scope
from aimc_robust.training.method import Batch, LossFunction, Method, scalar_loss

TINY = 1e-12  # keeps a zero gradient from dividing by zero, as in the published code


@dataclass(frozen=True, kw_only=True)
class SAM(Method):
    """g = grad L_B(w + rho grad L_B(w) / ||grad L_B(w)||), the norm taken once over all perturbed parameters.

    rho: radius in the units of the weights, 0 or more. m-sharpness is the batch size of the ascent gradient.
    Source: Foret et al., ICLR 2021; Incorruptible paper, Eq. 1.
    """

    rho: float

    ascent_pass: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require_finite("rho", self.rho)

    @property
    def shares(self) -> tuple[float, float]:
        return 0.0, 1.0

    @property
    def full_strength(self) -> float:
        return self.rho

    @contextmanager
    def perturbation(self, model: nn.Module, loss_fn: LossFunction, batch: Batch, *, step: int) -> Iterator[nn.Module]:
        weights = {name: p for name, p in weights_in_scope(model, self.scope).items() if p.requires_grad}
        if not weights:
            raise InputError("SAM ascends along the weights in scope, and all of them are frozen; unfreeze some.")
        with self._buffers(model, "clean"):
            loss = scalar_loss(model, loss_fn, batch)
            gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
        with restored(model, self.scope):
            ascend(list(weights.values()), gradients, self.strength(step))
            yield model


@torch.no_grad()
def ascend(weights: list[Tensor], gradients: tuple[Tensor | None, ...], rho: float) -> None:
    """Move the weights in place by rho along the gradient, over its global L2 norm. None: an unused weight, stays."""
    moved = [(weight, gradient) for weight, gradient in zip(weights, gradients, strict=True) if gradient is not None]
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm([gradient for _, gradient in moved])))
    for weight, gradient in moved:
        weight.add_(gradient * (rho / (norm + TINY)))
    torch.clear_autocast_cache()  # see noise.perturb
