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
        loss = _to_differentiate(scalar_loss(self.model, self.loss_fn, self.batches[batch]))
        # Scaling by exactly 1 would still cost a kernel and, in half precision, a rounding.
        loss = loss if share == 1.0 else loss * share
        self._scaled(loss).backward()
        return loss.detach()

    def gradients(self, weights: Sequence[Tensor], batch: int) -> list[Tensor | None]:
        loss = _to_differentiate(scalar_loss(self.model, self.loss_fn, self.batches[batch]))
        return list(torch.autograd.grad(self._scaled(loss), weights, allow_unused=True))

    def _scaled(self, loss: Tensor) -> Tensor:
        return loss if self.scaler is None else self.scaler.scale(loss)


class ClosurePasses(Passes):
    """Passes that a closure makes: it clears p.grad, runs its batch forward and backward, and returns the loss.

    own: parameters that the closure clears. others: further ones that its gradients may reach; what it clears of them
    is cleared, and what it keeps stays, with the update's gradient added once, however many passes there are.
    Raises InputError when a call returns no scalar, or when the closure adds to gradients of `own` that were there
    before: those of other batches, taken at unperturbed weights.
    """

    def __init__(
        self, closure: Callable[[], Tensor], own: Sequence[nn.Parameter], others: Sequence[nn.Parameter] = ()
    ) -> None:
        self.closure, self.own, self.parameters = closure, len(own), [*own, *others]
        self.first = True

    def accumulate(self, batch: int, share: float) -> Tensor:
        loss, gradients = self._run()
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            if gradient is None:
                continue
            # Not in place: with DDP's gradient_as_bucket_view the next backward pass would write over it.
            gradient = gradient if share == 1.0 else gradient * share
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
        return loss * share

    def gradients(self, weights: Sequence[Tensor], batch: int) -> list[Tensor | None]:
        _, gradients = self._run()
        found = {id(parameter): gradient for parameter, gradient in zip(self.parameters, gradients, strict=True)}
        return [found[id(weight)] for weight in weights]

    def _run(self) -> tuple[Tensor, list[Tensor | None]]:
        """(loss, gradients) of one call. p.grad stays, without what the first call clears."""
        before = [parameter.grad for parameter in self.parameters]
        # Zeros show whether the first call clears or adds. Later calls find nothing, so that they cannot clear our sum.
        zeros = [torch.zeros_like(grad) if self.first and grad is not None else None for grad in before]
        self._set(zeros)
        with torch.enable_grad():
            loss = self.closure()
        if not isinstance(loss, Tensor) or loss.ndim != 0:
            raise InputError(f"the closure must return the loss as a scalar tensor, got {loss!r}.")
        gradients = [parameter.grad for parameter in self.parameters]
        if self.first:
            kept = [_kept(zero, grad) for zero, grad in zip(zeros, gradients, strict=True)]
            if any(kept[: self.own]):
                raise InputError(
                    "p.grad holds gradients of other batches and the closure adds to them, but an update through a "
                    "closure has one batch; call optimizer.zero_grad() in the closure before the backward pass (with "
                    "Lightning: accumulate_grad_batches=1)."
                )
            before = [grad if keep else None for grad, keep in zip(before, kept, strict=True)]
            self.first = False
        self._set(before)
        return loss.detach(), [None if grad is None else grad.detach() for grad in gradients]

    def _set(self, gradients: Sequence[Tensor | None]) -> None:
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient


def _kept(zeros: Tensor | None, gradient: Tensor | None) -> bool:
    """Whether a closure that found `zeros` in p.grad and left `gradient` there has kept what it found."""
    if zeros is None or gradient is not zeros:
        return False  # there was nothing, or it went
    # Never changed; or changed once by an addition, where clearing in place would have left zeros.
    return zeros._version == 0 or (zeros._version == 1 and bool(zeros.any()))


def scalar_loss(model: nn.Module, loss_fn: LossFunction, batch: Batch) -> Tensor:
    """The loss of one batch. Raises InputError when the batch is no pair or the loss no scalar tensor."""
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise InputError(f"a batch is a pair (input, target), got {_kind(batch)}; give a list of such pairs.")
    inputs, targets = batch
    loss = loss_fn(model(inputs), targets)
    if not isinstance(loss, Tensor) or loss.ndim != 0:
        mend = "take its mean" if isinstance(loss, Tensor) else "return the tensor itself"
        raise InputError(f"loss_fn must return a scalar, got {_kind(loss)}; {mend}.")
    return loss


def _kind(value: object) -> str:
    return f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"


def _to_differentiate(loss: Tensor) -> Tensor:
    if not loss.requires_grad:
        raise InputError("the loss depends on no trainable parameter; unfreeze some (requires_grad_(True)).")
    return loss
