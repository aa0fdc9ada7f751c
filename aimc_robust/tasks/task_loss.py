"""The loss of a task, with label smoothing, as training minimizes it."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from aimc_robust.tasks.classification import Classification
from aimc_robust.tasks.task import Task


@dataclass(frozen=True)
class TaskLoss:
    """Loss of a task's batches; a `loss_fn` of the training methods, like the task itself.

    Args:
        task: The task.
        label_smoothing: Label smoothing of the cross-entropy, 0 to 1.
    """

    task: Task = field(default_factory=Classification)
    label_smoothing: float = 0.0

    def __call__(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss of outputs and labels, aligned by `Task.align`."""
        return self.task.loss(outputs, labels, self.label_smoothing)
