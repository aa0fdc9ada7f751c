"""What a training of a spec starts from: a network, perhaps with trained weights, and the file of a teacher."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import nn

from aimc_robust.data.dataset import DataSet
from aimc_robust.models.pretrained import load_weights, read_weights
from aimc_robust.models.registry import ModelSpec, build_model
from aimc_robust.tasks.task import Task
from aimc_robust.training.config import TrainingConfig


def build_start(spec: ModelSpec, data: DataSet, folder: Path, *, seed: int, task: Task) -> tuple[nn.Module, str]:
    """Return the network of a spec and, if it has trained weights, a hash of these; else no text.

    Raises:
        CheckpointError: if the weights, relative to `folder`, cannot be read or do not fit.
    """
    model = build_model(spec, data, seed=seed, task=task)
    if spec.weights is None:
        return model, ""
    weights = read_weights(folder / spec.weights)
    load_weights(model, weights, source=str(folder / spec.weights))
    return model, weights.id


def teacher_in_folder(config: TrainingConfig, folder: Path) -> TrainingConfig:
    """Return a training configuration whose teacher's file, if it has one, is found from `folder`."""
    distillation = config.distillation
    if distillation is None or distillation.teacher is None:
        return config
    return replace(config, distillation=replace(distillation, teacher=folder / str(distillation.teacher)))
