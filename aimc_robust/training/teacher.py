"""The teacher of a training with distillation."""

from __future__ import annotations

import copy
from dataclasses import replace

from torch import nn

from aimc_robust.models.checkpoint import tensor_digest
from aimc_robust.models.pretrained import load_checkpoint
from aimc_robust.tasks.distillation import frozen_copy
from aimc_robust.training.config import TrainingConfig


def with_teacher(config: TrainingConfig, model: nn.Module) -> tuple[TrainingConfig, str]:
    """Return a config whose distillation has a module as teacher, and a hash of its weights; empty: no distillation.

    Raises:
        CheckpointError: if the teacher's file cannot be read, or its weights are not those of `model`'s network.
    """
    distillation = config.distillation
    if distillation is None:
        return config, ""
    teacher = distillation.teacher
    if teacher is None:
        teacher = frozen_copy(model)
    elif not isinstance(teacher, nn.Module):
        teacher = load_checkpoint(copy.deepcopy(model), teacher)
    resolved = replace(distillation, teacher=teacher)
    assert isinstance(resolved.teacher, nn.Module)
    return replace(config, distillation=resolved), tensor_digest(resolved.teacher.state_dict())
