"""Functions that give batches of a split, as a user would write them."""

import numpy as np
import torch
from torch import Tensor


def linear(split: str, examples: int = 60, has_validation: bool = True) -> list[tuple[Tensor, Tensor]] | None:
    """Batches of inputs (N, 5) and numbers (N, 1) that depend on them linearly."""
    if split == "validation" and not has_validation:
        return None
    batches = []
    for _ in range(4):
        inputs = torch.randn(examples // 4, 5)
        batches.append((inputs, inputs.sum(dim=1, keepdim=True) + 0.1 * torch.randn(examples // 4, 1)))
    return batches


def several_labels(split: str):
    """Yields mappings of arrays, two inputs, and three labels of 0 and 1."""
    generator = np.random.default_rng(len(split))
    for _ in range(3):
        a, b = generator.normal(size=(20, 4)).astype(np.float32), generator.normal(size=(20, 4)).astype(np.float32)
        yield {"a": a, "b": b, "labels": np.stack([a[:, 0] > 0, b[:, 1] > 0, a[:, 2] > b[:, 2]], axis=1).astype(int)}


def tokens(split: str, vocabulary: int = 11, length: int = 8) -> dict[str, Tensor]:
    """One batch of texts in which each token follows from the one before."""
    start = torch.randint(0, vocabulary, (48, 1))
    return {"input_ids": (start + 3 * torch.arange(length)) % vocabulary}


def ragged(split: str):
    """Texts of two lengths."""
    for length in (5, 7):
        yield {"input_ids": torch.zeros(3, length, dtype=torch.long)}


class Constant:
    """A class that takes the options."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __call__(self, split: str) -> tuple[Tensor, Tensor]:
        return torch.full((8, 3), self.value), torch.arange(8) % 2


def boxes(split: str):
    """Lists of images of unequal size and of targets, as detection has them; without training data."""
    if split != "test":
        return None
    return [([torch.rand(3, 8, 8 + n) for n in range(2)], [{"boxes": torch.rand(1, 4)}] * 2) for _ in range(3)]


def failing(split: str):
    raise RuntimeError("the disk is gone")


def empty(split: str):
    return []


def number(split: str):
    return 3


def unequal(split: str):
    return [(torch.zeros(4, 3), torch.zeros(3, dtype=torch.long))]


def unlabelled(split: str):
    return [{"input_ids": torch.zeros(4, 3, dtype=torch.long)}]


def mixed(split: str):
    return [(torch.zeros(4, 3), torch.zeros(4)), (torch.zeros(4, 3).double(), torch.zeros(4))]
