"""Accuracy and loss of a model on labelled batches."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aimc_robust.errors import DataError

Batch = tuple[Tensor, Tensor]


class Measurement(NamedTuple):
    """accuracy: top-1 [percent]; loss: mean cross-entropy, no label smoothing [nats]; n: images."""

    accuracy: float
    loss: float
    n: int


@torch.inference_mode()
def measure(model: nn.Module, batches: Iterable[Batch]) -> Measurement:
    """Run `model` as it stands (put it in evaluation mode first) over (inputs, labels) batches.

    Raises DataError when there are no images.
    """
    correct, loss, n = 0, 0.0, 0
    for inputs, labels in batches:
        logits = model(inputs)
        correct += int((logits.argmax(dim=1) == labels).sum())
        loss += float(F.cross_entropy(logits, labels, reduction="sum"))
        n += len(labels)
    if n == 0:
        raise DataError("expected at least one batch of images and labels, got none.")
    return Measurement(100.0 * correct / n, loss / n, n)


def check_data(name: str, data: Batch) -> None:
    """Raise DataError unless `data` holds at least one input and a label for each."""
    inputs, labels = data
    if len(inputs) != len(labels) or len(labels) == 0:
        raise DataError(f"{name} needs a label for each image and at least one, got {len(inputs)} and {len(labels)}.")


def batches_of(data: Batch, size: int) -> list[Batch]:
    """(inputs, labels) cut into batches of at most `size`, in order, without a copy. Raises as `check_data`."""
    check_data("data", data)
    return list(zip(data[0].split(size), data[1].split(size), strict=True))
