"""Forward and backward passes of a method, over batches or through the closure of an existing training loop."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from aimc_robust.errors import InputError
from aimc_robust.noise.shards import is_shard, local_part, whole
from aimc_robust.tasks.batches import Batch, examples_in, parts, unpack
from aimc_robust.tasks.calling import call_model
from aimc_robust.tasks.distillation import Distillation
from aimc_robust.tasks.task import Task
from aimc_robust.tasks.task_loss import TaskLoss
from aimc_robust.training.methods.sharded import gradients_of_backward

LossFunction = Callable[[Any, Any], Tensor] | Task | Distillation
"""A function (output, target) -> scalar loss, or a task, which knows its loss, or a distillation."""


class Passes(ABC):
    """Forward and backward passes at the model's current weights, over a numbered batch."""

    @abstractmethod
    def accumulate(self, batch: int, weight: float) -> Tensor:
        """Add `weight` times the gradient of batch number `batch` to p.grad; return the detached loss * `weight`."""

    @abstractmethod
    def factor_in_backward(self, weight: float) -> float:
        """Return by which factor gradients inside the backward pass of `accumulate(..., weight)` are multiplied."""

    @abstractmethod
    def gradients(self, weights: Sequence[Tensor], batch: int) -> list[Tensor | None]:
        """Return the gradient of batch number `batch` at `weights`, up to one common factor; p.grad is unchanged.

        The gradient of a weight that the loss does not use is None.
        """


class LossPasses(Passes):
    """Passes of a model over labelled batches; `scaler` is the `GradScaler` of a float16 loop."""

    def __init__(
        self,
        model: nn.Module,
        loss_fn: LossFunction,
        batches: Sequence[Batch],
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        self.model, self.loss_fn, self.batches, self.scaler = model, loss_fn, batches, scaler

    def accumulate(self, batch: int, weight: float) -> Tensor:
        """Add `weight` times the gradient of batch number `batch` to p.grad; see `Passes.accumulate`."""
        loss = self._loss(batch)
        # Scaling by exactly 1 would still cost a kernel and, in half precision, a rounding.
        loss = loss if weight == 1.0 else loss * weight
        self._scaled(loss).backward()
        return loss.detach()

    def factor_in_backward(self, weight: float) -> float:
        """Return `weight`, times the scale of the loss."""
        return weight if self.scaler is None else weight * self.scaler.get_scale()

    def gradients(self, weights: Sequence[Tensor], batch: int) -> list[Tensor | None]:
        """Return the gradient of batch number `batch` at `weights`; see `Passes.gradients`."""
        if any(is_shard(weight) for weight in weights):
            return gradients_of_backward(lambda: self._scaled(self._loss(batch)), self.model, weights)
        return list(torch.autograd.grad(self._scaled(self._loss(batch)), weights, allow_unused=True))

    def _loss(self, batch: int) -> Tensor:
        loss = scalar_loss(self.model, self.loss_fn, self.batches[batch])
        if not loss.requires_grad:
            raise InputError("the loss depends on no trainable parameter; unfreeze some (requires_grad_(True)).")
        return loss

    def _scaled(self, loss: Tensor) -> Tensor:
        return loss if self.scaler is None else self.scaler.scale(loss)


class ClosurePasses(Passes):
    """Passes that a closure makes: it clears p.grad, runs its batch forward and backward, and returns the loss.

    The closure clears the gradients of the parameters `own`; the gradient may reach `others` too. Of these, those that
    the closure clears are cleared, and the update's gradient is added to each once, however many passes it has. A call
    raises InputError if it returns no scalar, or if the closure adds to existing gradients of `own`, which would be
    those of other batches at unperturbed weights.
    """

    def __init__(
        self, closure: Callable[[], Tensor], own: Sequence[nn.Parameter], others: Sequence[nn.Parameter] = ()
    ) -> None:
        self.closure, self.own_count, self.parameters = closure, len(own), [*own, *others]
        self.is_first_call = True

    def accumulate(self, batch: int, weight: float) -> Tensor:
        """Add `weight` times the gradient of the closure's batch to p.grad; see `Passes.accumulate`."""
        loss, gradients = self._run()
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            if gradient is None:
                continue
            # Not in place: with DDP's gradient_as_bucket_view the next backward pass would overwrite it.
            gradient = gradient if weight == 1.0 else gradient * weight
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
        return loss * weight

    def factor_in_backward(self, weight: float) -> float:
        """Return 1: gradients are weighted after the closure."""
        return 1.0

    def gradients(self, weights: Sequence[Tensor], batch: int) -> list[Tensor | None]:
        """Return the gradient of the closure's batch at `weights`; see `Passes.gradients`."""
        _, gradients = self._run()
        by_id = {id(parameter): gradient for parameter, gradient in zip(self.parameters, gradients, strict=True)}
        return [by_id[id(weight)] for weight in weights]

    def _run(self) -> tuple[Tensor, list[Tensor | None]]:
        """Call the closure; return (loss, gradients). p.grad stays, except for what the first call clears."""
        before = [parameter.grad for parameter in self.parameters]
        # Zeros show whether the first call clears or adds. Later calls get None, so that they cannot clear our sum.
        zeros = [torch.zeros_like(grad) if self.is_first_call and grad is not None else None for grad in before]
        self._set_grad(zeros)
        with torch.enable_grad():
            loss = self.closure()
        if not isinstance(loss, Tensor) or loss.ndim != 0:
            raise InputError(f"the closure must return the loss as a scalar tensor, got {loss!r}.")
        gradients = [parameter.grad for parameter in self.parameters]
        if self.is_first_call:
            uncleared = [_is_uncleared(zero, grad) for zero, grad in zip(zeros, gradients, strict=True)]
            if any(uncleared[: self.own_count]):
                raise InputError(
                    "p.grad holds gradients of other batches and the closure adds to them, but an update through a "
                    "closure has one batch; call optimizer.zero_grad() in the closure before the backward pass (with "
                    "Lightning: accumulate_grad_batches=1)."
                )
            before = [grad if stays else None for grad, stays in zip(before, uncleared, strict=True)]
            self.is_first_call = False
        self._set_grad(before)
        return loss.detach(), [None if grad is None else grad.detach() for grad in gradients]

    def _set_grad(self, gradients: Sequence[Tensor | None]) -> None:
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient


def _is_uncleared(zeros: Tensor | None, gradient: Tensor | None) -> bool:
    """Whether a closure that found `zeros` in p.grad and left `gradient` there did not clear p.grad."""
    if zeros is None or gradient is not zeros:
        return False  # p.grad was None before, or was replaced
    # Never changed; or changed once by an addition, where clearing in place would have left zeros. FSDP2 changes the
    # local part of a gradient alone.
    version = local_part(zeros)._version
    return version == 0 or (version == 1 and bool(whole(zeros).any()))


def scalar_loss(model: nn.Module, loss_fn: LossFunction, batch: Batch) -> Tensor:
    """Return the loss of one labelled batch as a scalar tensor; raise InputError for other batches or losses."""
    if isinstance(loss_fn, Distillation):
        return loss_fn.loss(model, batch)
    return _loss_and_labels(model, loss_fn, batch)[0]


def loss_and_items(model: nn.Module, loss_fn: LossFunction, batch: Batch) -> tuple[Tensor, int]:
    """Return the loss of one labelled batch as a scalar tensor, and over how many items it is a mean.

    Counting the items waits for a GPU.
    """
    if isinstance(loss_fn, Distillation):
        return loss_fn.loss_and_items(model, batch)
    loss, labels = _loss_and_labels(model, loss_fn, batch)
    task = loss_fn if isinstance(loss_fn, Task) else loss_fn.task if isinstance(loss_fn, TaskLoss) else None
    return loss, examples_in(labels) if task is None else task.count(labels)


def _loss_and_labels(
    model: nn.Module, loss_fn: Callable[[Any, Any], Tensor] | Task, batch: Batch
) -> tuple[Tensor, Any]:
    if isinstance(loss_fn, Task):
        loss_fn = TaskLoss(loss_fn)
    if isinstance(loss_fn, TaskLoss):
        outputs, labels = loss_fn.task.run(model, batch)
        return loss_fn(outputs, labels), labels
    wrong = next((part for part in parts(batch) if isinstance(part, np.ndarray | list | str | float)), None)
    if wrong is not None or not isinstance(batch, tuple | list | Mapping):
        raise InputError(
            f"a batch is a pair (input, target) of tensors, or a mapping with labels, got {_describe(batch)}"
            f"{'' if wrong is None else f' with {_describe(wrong)} in it'}; convert it, or pass a list of batches."
        )
    inputs, labels = unpack(batch)
    outputs = call_model(model, inputs)
    try:
        loss = loss_fn(outputs, labels)
    except TypeError as error:
        if isinstance(outputs, Tensor):
            raise
        raise InputError(
            f"loss_fn failed on the model's output, {_describe(outputs)}: {error}. Pass a task such as "
            "LanguageModelling() as loss_fn, or a function of this output."
        ) from error
    if not isinstance(loss, Tensor) or loss.ndim != 0:
        remedy = "take its mean" if isinstance(loss, Tensor) else "return the tensor itself"
        raise InputError(f"loss_fn must return a scalar, got {_describe(loss)}; {remedy}.")
    return loss, labels


def _describe(value: object) -> str:
    return f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
