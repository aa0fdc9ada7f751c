"""The fingerprint of a training recipe: which trainings are the same."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from torch import nn

from aimc_robust.data.augmentation import Augmentation, StreamedAugmentation
from aimc_robust.tasks.classification import Classification
from aimc_robust.tasks.task import Task
from aimc_robust.training.canonical import canonical
from aimc_robust.training.config import TrainingConfig
from aimc_robust.training.methods.base import Method


def recipe_fingerprint(
    network: Any,
    data: Any,
    method: Method,
    config: TrainingConfig,
    augmentation: Augmentation | StreamedAugmentation,
    train_seed: int,
    task: Task | None = None,
) -> str:
    """Return a hash of everything that determines the result of a training, equal in every process.

    It is asked in two places, which know the network and the data in two ways. A checkpoint is checked against the
    training that continues it or loads it: a module, of which the shapes of its tensors count, and the content of the
    images. The folder of shared models needs its key before anything is loaded: the tables of the spec, with the source
    of a user's network. So the key also tells networks of equal shapes apart, and the checkpoint found under it is
    checked for the images.

    Settings at their defaults are left out, so that a setting added later does not invalidate existing checkpoints.

    Args:
        network: The module, or plain values that describe it.
        data: Plain values that identify the images.
        method: Training method.
        config: Training settings.
        augmentation: Augmentation of the images.
        train_seed: Root seed.
        task: What is trained; None: classification.
    """
    train_seed_and_task = [train_seed] if task in (None, Classification()) else [train_seed, canonical(task)]
    if isinstance(network, nn.Module):
        network = {name: [*value.shape, str(value.dtype)] for name, value in network.state_dict().items()}
    return fingerprint([network, data, *map(canonical, (method, config, augmentation)), *train_seed_and_task])


def fingerprint(content: Any) -> str:
    """Return a hash of plain values, whatever the order of their keys."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
