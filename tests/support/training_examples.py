"""Nets and data that the training tests share: small enough for hundreds of updates a second."""

from functools import cache

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from aimc_robust.seeding import global_seed

Batch = tuple[Tensor, Tensor]


def conv_net(*, seed: int = 0, dropout: float = 0.0, dtype: torch.dtype = torch.float32) -> nn.Sequential:
    """Convolution, BatchNorm, dropout, linear: each kind of state that training must handle."""
    with global_seed(seed):
        return nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1, bias=False),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(96, 10),
        ).to(dtype)


@cache
def digits(dtype: torch.dtype = torch.float32) -> Batch:
    """The 1797 handwritten digits that scikit-learn ships, in a fixed random order."""
    data = load_digits()
    order = torch.randperm(len(data.target), generator=torch.Generator().manual_seed(0))
    images = torch.tensor(data.images / 16.0, dtype=dtype).unsqueeze(1)
    return images[order], torch.tensor(data.target)[order]


def digit_batches(count: int, size: int = 16, dtype: torch.dtype = torch.float32) -> list[Batch]:
    """`count` batches of different digits."""
    images, labels = digits(dtype)
    return list(zip(images.split(size), labels.split(size), strict=True))[:count]


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """A copy of all weights and buffers."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def gradients_of(model: nn.Module) -> dict[str, Tensor]:
    """A copy of all gradients."""
    return {name: p.grad.clone() for name, p in model.named_parameters()}


def differing(first: dict[str, Tensor], second: dict[str, Tensor]) -> list[str]:
    """Names of tensors that are not bit for bit the same; all names when the two have different ones."""
    if first.keys() != second.keys():
        return sorted(first.keys() | second.keys())
    return [name for name, value in first.items() if not torch.equal(value, second[name])]
