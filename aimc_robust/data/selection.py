"""Inputs of any kind and their labels: selected, moved to a device, identified by their content."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aimc_robust.data.lazy import LabelledImages, select_images
from aimc_robust.seeding import Axes
from aimc_robust.tasks.batches import tensors_in


def select_examples(data: LabelledImages, indices: Tensor) -> LabelledImages:
    """Return the examples with these indices."""
    return select_images(data[0], indices), data[1][indices]


def content_id(values: Any) -> str:
    """Return a hash of the type, shape and content of all tensors in nested values."""
    digest = hashlib.blake2b(digest_size=16)
    for tensor in tensors_in(values):
        stored = tensor.detach().cpu().contiguous()
        digest.update(f"{stored.dtype} {tuple(stored.shape)}\n".encode())
        digest.update(stored.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def permutation(seed: int, use: str, n: int) -> np.ndarray:
    """Return the numbers below n in random order; `use` says what for."""
    return torch.randperm(n, generator=Axes(seed).at(use=use).generator()).numpy()
