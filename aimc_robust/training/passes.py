"""Where a method's gradients come from: a loss function and batches, or the closure of an existing training loop."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from aimc_robust.errors import InputError

LossFunction = Callable[[Tensor, Tensor], Tensor]
Batch = tuple[Tensor, Tensor]


class Passes(ABC):
    """Forward and backward passes at the model's present weights, over a numbered batch."""

    @abstractmethod
    def accumulate(self, batch: int, share: float) -> Tensor:
        """Add `share` of the batch's gradient to p.grad; returns the same share of the loss, detached."""

    @abstractmethod
    def gradients(self, weights: Sequence[Tensor], batch: int) -> list[Tensor | None]:
        """The batch's gradient at `weights`, up to one common factor; p.grad stays. None: an unused weight."""


class LossPasses(Passes):
    """Passes of a model over (input, target) batches. scaler: a `GradScaler`, for float16."""

    def __init__(
        self,
        model: nn.Module,
        loss_fn: LossFunction,
        batches: Sequence[Batch],
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        self.model, self.loss_fn, self.batches, self.scaler = model, loss_fn, batches, scaler

    def accumulate(self, batch: int, share: float) -> Tensor:
        loss = scalar_loss(self.model, self.loss_fn, self.batches[batch])
        # Scaling by exactly 1 would still cost a kernel and, in half precision, a rounding.
        loss = loss if share == 1.0 else loss * share
        self._scaled(loss).backward()
        return loss.detach()

    def gradients(self, weights: Sequence[Tensor], batch: int) -> list[Tensor | None]:
        loss = scalar_loss(self.model, self.loss_fn, self.batches[batch])
        return list(torch.autograd.grad(self._scaled(loss), weights, allow_unused=True))

    def _scaled(self, loss: Tensor) -> Tensor:
        return loss if self.scaler is None else self.scaler.scale(loss)


class ClosurePasses(Passes):
    """Passes that a closure makes: it clears p.grad, runs its batch forward and backward, and returns the loss."""

    def __init__(self, closure: Callable[[], Tensor], parameters: Sequence[nn.Parameter]) -> None:
        self.closure, self.parameters = closure, parameters

    def accumulate(self, batch: int, share: float) -> Tensor:
        before = self._cleared()
        loss = self._run() * share
        for parameter, earlier in zip(self.parameters, before, strict=True):
            if parameter.grad is not None and share != 1.0:
                parameter.grad.mul_(share)
            if earlier is not None:
                parameter.grad = earlier if parameter.grad is None else parameter.grad.add_(earlier)
        return loss

    def gradients(self, weights: Sequence[Tensor], batch: int) -> list[Tensor | None]:
        before = self._cleared()
        self._run()
        found = [weight.grad for weight in weights]
        for parameter, earlier in zip(self.parameters, before, strict=True):
            parameter.grad = earlier
        return found

    def _cleared(self) -> list[Tensor | None]:
        """Take the gradients away, so that a closure that sets them to zero in place finds none of ours."""
        before = [parameter.grad for parameter in self.parameters]
        for parameter in self.parameters:
            parameter.grad = None
        return before

    def _run(self) -> Tensor:
        with torch.enable_grad():
            loss = self.closure()
        if not isinstance(loss, Tensor) or loss.ndim != 0:
            raise InputError(f"the closure must return the loss as a scalar tensor, got {loss!r}.")
        return loss.detach()


def scalar_loss(model: nn.Module, loss_fn: LossFunction, batch: Batch) -> Tensor:
    """The loss of one batch. Raises InputError when it is not a scalar."""
    inputs, targets = batch
    loss = loss_fn(model(inputs), targets)
    if loss.ndim != 0:
        raise InputError(f"loss_fn must return a scalar, got a tensor of shape {tuple(loss.shape)}; take its mean.")
    return loss
