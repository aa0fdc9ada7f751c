"""Distillation: a loss that also asks for the outputs of a teacher, such as the digital model before fine-tuning."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path
from weakref import WeakSet

import torch
from torch import Tensor, nn

from aimc_robust.errors import InputError, names_arguments, require_finite, require_type
from aimc_robust.tasks.batches import Batch
from aimc_robust.tasks.registry import TaskLike, as_task
from aimc_robust.tasks.task_loss import TaskLoss

_TEACHERS: WeakSet[nn.Module] = WeakSet()  # copies made here


@names_arguments
@dataclass(frozen=True, kw_only=True)
class Distillation:
    """Train on (1 - weight) times the task's loss + weight times the divergence of the outputs from a teacher's.

    For classes, tokens and pixels the divergence is T^2 times the Kullback-Leibler divergence of the probabilities at
    temperature T, from the teacher's to the model's, as a mean over the items that are scored; for multi-label scores
    the same of each label's; for regression the mean squared difference, without a temperature. The teacher is a copy
    in evaluation mode: no perturbation, no array and no update reaches it. A `loss_fn` of every method's `backward`;
    in a closure or another loop call `loss(model, batch)`. In a `TrainingConfig` the task and label smoothing are the
    training's.

    Args:
        teacher: The model to learn from, of any architecture with the same outputs; it is copied as it is now. In a
            `TrainingConfig` also the file of weights of the trained network; None: the model that the training starts
            from. It must be a trained one, which nothing here can check: a model with random weights teaches nothing.
        temperature: T, above 0.
        weight: Weight of the divergence, from 0 to 1.
        task: The task, or its name; None is `classification`.
        label_smoothing: Label smoothing of the task's loss, 0 to 1.

    References:
        G. Hinton, O. Vinyals, J. Dean, arXiv 1503.02531, Section 2 (temperature, and T^2 for gradients of one size).

    Examples:
        >>> distillation = Distillation(nn.Linear(4, 2), temperature=2.0, weight=0.5)
        >>> batch = torch.zeros(8, 4), torch.zeros(8, dtype=torch.int64)
        >>> bool(distillation.loss(nn.Linear(4, 2), batch) > 0)
        True
    """

    teacher: nn.Module | str | Path | None = field(default=None, kw_only=False, hash=False)
    temperature: float = 2.0
    weight: float = 0.5
    task: TaskLike = None
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        kinds = nn.Module | str | Path | None
        require_type("teacher", self.teacher, kinds, example="a torch.nn.Module, the file of its weights, or None")
        require_finite("temperature", self.temperature)
        if self.temperature == 0:
            raise InputError("temperature must be above 0; 2 is usual, and 1 leaves the probabilities as they are.")
        require_finite("weight of the distillation", self.weight, high=1.0)
        require_finite("label_smoothing", self.label_smoothing, high=1.0)
        as_task(self.task)
        if isinstance(self.teacher, nn.Module) and self.teacher not in _TEACHERS:
            object.__setattr__(self, "teacher", frozen_copy(self.teacher))

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the loss of a labelled batch, a scalar."""
        return self._loss_and_labels(model, batch)[0]

    def loss_and_items(self, model: nn.Module, batch: Batch) -> tuple[Tensor, int]:
        """Return the loss of a labelled batch, and over how many items it is a mean.

        Raises:
            InputError: if there is no teacher, its outputs have another shape, or the task has no distillation.
        """
        loss, labels = self._loss_and_labels(model, batch)
        return loss, as_task(self.task).count(labels)

    def _loss_and_labels(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        if not isinstance(self.teacher, nn.Module):
            raise InputError("the distillation has no teacher; pass the trained model, as Distillation(model, ...).")
        task = as_task(self.task)
        outputs, labels = task.run(model, batch)
        with torch.no_grad():
            soft, _ = task.run(self.teacher, batch)
        if soft.shape != outputs.shape:
            raise InputError(
                f"the teacher's outputs {tuple(soft.shape)} must have the shape of the model's "
                f"{tuple(outputs.shape)}; give a teacher of the same classes."
            )
        hard = TaskLoss(task, self.label_smoothing)(outputs, labels)
        divergence = task.divergence(outputs, soft, labels, self.temperature)
        return (1.0 - self.weight) * hard + self.weight * divergence, labels


def frozen_copy(model: nn.Module) -> nn.Module:
    """Return a copy of a model that is never trained: in evaluation mode, without gradients."""
    try:
        teacher = copy.deepcopy(model)
    except Exception as error:  # a model's own __deepcopy__ may raise anything
        raise InputError(f"the teacher, a {type(model).__name__}, cannot be copied ({error}).") from error
    teacher.eval().requires_grad_(False)
    _TEACHERS.add(teacher)
    return teacher
