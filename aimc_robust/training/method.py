"""The protocol of a training method: which passes an update makes, at which weights, and what they leave behind."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from aimc_robust.errors import InputError, require_known
from aimc_robust.noise.scope import Scope, check_scope
from aimc_robust.seeding import Axes
from aimc_robust.training.ramp import CONSTANT, Ramp

LossFunction = Callable[[Tensor, Tensor], Tensor]
Batch = tuple[Tensor, Tensor]
BN_STATS = ("clean", "perturbed")


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """One update's gradient, as a mix of a clean and a perturbed pass:

        g = clean_share * grad L_B1(w) + perturbed_share * grad L_B2(w + eps)

    The base runs the passes, restores the weights bit for bit and decides whose BatchNorm statistics are kept; a
    subclass gives the shares and the perturbation. The optimizer, scheduler, clipping and autocast stay the user's.

    ramp: growth of the perturbation over the updates. scope: which parameters are perturbed (`noise.scope`).
    bn_stats: which pass updates the model's buffers (BatchNorm statistics): `clean` where the method has a clean
        pass, else `perturbed`.
    seed: root of the method's random numbers; update t of layer l draws from (seed, t, l) and nothing else.
    """

    ramp: Ramp = CONSTANT
    scope: Scope = "weights"
    bn_stats: str = "clean"
    seed: int = 0

    batches_per_update: ClassVar[int] = 1
    ascent_pass: ClassVar[bool] = False  # whether the perturbation itself takes a clean pass

    def __post_init__(self) -> None:
        check_scope(self.scope)
        if not isinstance(self.ramp, Ramp):
            raise InputError(f"ramp must be a Ramp such as Ramp(shape='quadratic', updates=1000), got {self.ramp!r}.")
        require_known("bn_stats", self.bn_stats, BN_STATS)
        if self.bn_stats not in self.passes:
            raise InputError(
                f"{type(self).__name__} makes no {self.bn_stats} pass here, so BatchNorm would learn nothing; set "
                f"bn_stats to {' or '.join(map(repr, self.passes))}."
            )

    @property
    @abstractmethod
    def shares(self) -> tuple[float, float]:
        """(clean_share, perturbed_share); a pass with share 0 is not run."""

    @property
    def passes(self) -> tuple[str, ...]:
        """Which of BN_STATS an update runs."""
        clean_share, perturbed_share = self.shares
        run = {"clean": clean_share or self.ascent_pass, "perturbed": perturbed_share}
        return tuple(name for name, share in run.items() if share)

    @abstractmethod
    def perturbation(
        self, model: nn.Module, loss_fn: LossFunction, batch: Batch, *, step: int
    ) -> AbstractContextManager[nn.Module]:
        """A context inside which `model` carries the perturbed weights of update `step`."""

    @property
    @abstractmethod
    def full_strength(self) -> float | None:
        """sigma or rho at the end of the ramp; None when the method has none."""

    def strength(self, step: int) -> float | None:
        """sigma or rho at update `step`."""
        return None if self.full_strength is None else self.full_strength * self.ramp.factor(step)

    def backward(self, model: nn.Module, loss_fn: LossFunction, batches: Sequence[Batch], *, step: int) -> Tensor:
        """Add this update's gradient to `p.grad` and leave the weights as they were.

        batches: `batches_per_update` pairs (input, target). loss_fn(output, target) returns a scalar.
        step: number of this update, from 1. Returns the loss that the gradient belongs to, detached.
        Raises InputError for a wrong number of batches or a loss that is not a scalar.
        """
        if len(batches) != self.batches_per_update:
            raise InputError(
                f"{type(self).__name__} takes {self.batches_per_update} batch(es) per update, each an (input, target) "
                f"pair in a list; got {len(batches)}."
            )
        clean_share, perturbed_share = self.shares
        losses = []
        if clean_share:
            with self._buffers(model, "clean"):
                losses.append(_accumulate(model, loss_fn, batches[0], clean_share))
        if perturbed_share:
            with self.perturbation(model, loss_fn, batches[-1], step=step), self._buffers(model, "perturbed"):
                losses.append(_accumulate(model, loss_fn, batches[-1], perturbed_share))
        return sum(losses[1:], losses[0])

    def _buffers(self, model: nn.Module, pass_name: str) -> AbstractContextManager[None]:
        """Keep the model's buffers as they are unless this pass is the one that `bn_stats` names."""
        return nullcontext() if pass_name == self.bn_stats else frozen_buffers(model)

    def _axes(self, step: int) -> Axes:
        return Axes(self.seed).at(use="training", step=step)


def _accumulate(model: nn.Module, loss_fn: LossFunction, batch: Batch, share: float) -> Tensor:
    """Add `share` of the batch's gradient to p.grad; returns the same share of the loss, detached."""
    loss = scalar_loss(model, loss_fn, batch)
    # Scaling by exactly 1 would still cost a kernel and, in half precision, a rounding.
    scaled = loss if share == 1.0 else loss * share
    scaled.backward()
    return scaled.detach()


def scalar_loss(model: nn.Module, loss_fn: LossFunction, batch: Batch) -> Tensor:
    """The loss of one batch. Raises InputError when it is not a scalar."""
    inputs, targets = batch
    loss = loss_fn(model(inputs), targets)
    if loss.ndim != 0:
        raise InputError(f"loss_fn must return a scalar, got a tensor of shape {tuple(loss.shape)}; take its mean.")
    return loss


@contextmanager
def frozen_buffers(model: nn.Module) -> Iterator[None]:
    """Put the model's buffers back on leaving.

    Buffers rather than BatchNorm's own switch: custom normalisation layers are covered too, also those that put a
    new tensor in a buffer's place.
    """
    saved = [
        (module, name, buffer, buffer.detach().clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for module, name, buffer, value in saved:
                module._buffers[name] = buffer.copy_(value)
