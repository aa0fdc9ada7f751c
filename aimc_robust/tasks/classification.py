"""Classification: one class for each image, or for each token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from aimc_robust.errors import DataError, require_type
from aimc_robust.statistics.primary_metric import ACCURACY, PrimaryMetric
from aimc_robust.tasks.divergence import class_divergence
from aimc_robust.tasks.task import Accumulator, Task


@dataclass(frozen=True, kw_only=True)
class Classification(Task):
    """One class for each item: scores (N, classes) and labels (N,), or (N, ..., classes) and (N, ...).

    The loss is the cross-entropy [nats]. Scores of -infinity are classes of probability 0.

    Args:
        ignore_index: Label of items that are not scored.
    """

    items: ClassVar[str] = "images"
    ignore_index: int = -100

    def __post_init__(self) -> None:
        require_type("ignore_index", self.ignore_index, int, example="a whole number such as -100")

    @property
    def primary(self) -> PrimaryMetric:
        """Top-1 accuracy [percent]."""
        return ACCURACY

    def align(self, outputs: Tensor, labels: Any) -> tuple[Tensor, Tensor]:
        """Return scores and labels (N, ...) as int64, see `Task.align`."""
        is_one_each = isinstance(labels, Tensor) and labels.ndim == 1
        if is_one_each and (outputs.ndim != 2 or len(outputs) != len(labels)):
            raise DataError(
                f"expected the model to return ({len(labels)} images, classes) scores, got {tuple(outputs.shape)}."
            )
        labels = class_labels(labels, outputs.shape[:-1], "one whole number, the class, as the label of each image")
        return outputs, labels

    def check(self, outputs: Tensor, labels: Tensor) -> None:
        """Raise DataError if a label is no class."""
        check_classes(labels, outputs.shape[-1], self.ignore_index)

    def outputs(self, labels: Tensor) -> int:
        """Return the number of classes."""
        return number_of_classes(labels, self.ignore_index)

    def count(self, labels: Tensor) -> int:
        """Return the number of labels that are scored."""
        return int((labels != self.ignore_index).sum())

    def scored(self, outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores (items, classes) and labels (items,) of those that are not ignored."""
        return scored_items(outputs, labels, self.ignore_index)

    def loss(self, outputs: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Return the mean cross-entropy."""
        return mean_cross_entropy(outputs, labels, self.ignore_index, label_smoothing)

    def divergence(self, outputs: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> Tensor:
        """Return the divergence of the class probabilities of what is scored."""
        return class_divergence(outputs, teacher, labels != self.ignore_index, temperature)

    def accumulators(self) -> dict[str, Accumulator]:
        """Return the accuracy."""
        return {"accuracy": Accuracy(self.ignore_index)}


class Accuracy:
    """Percentage of items whose label has the highest score; the classes are the last dimension of the scores."""

    def __init__(self, ignore_index: int) -> None:
        self.ignore_index, self.right, self.n = ignore_index, 0, 0

    def update(self, outputs: Tensor, labels: Tensor, /) -> None:
        """Add a batch."""
        scored = labels != self.ignore_index
        right = (outputs.argmax(dim=-1) == labels) & ~outputs.isnan().any(dim=-1)
        self.right += int(right[scored].sum())
        self.n += int(scored.sum())

    def compute(self) -> float:
        """Return the accuracy [percent]."""
        return 100.0 * self.right / self.n


def class_labels(labels: Any, shape: torch.Size, expected: str) -> Tensor:
    """Return labels as int64; raise DataError if they are no whole numbers of this shape."""
    if not isinstance(labels, Tensor) or labels.is_floating_point() or labels.is_complex() or labels.shape != shape:
        got = f"{labels.dtype} {tuple(labels.shape)}" if isinstance(labels, Tensor) else type(labels).__name__
        raise DataError(
            f"expected {expected}, {tuple(shape)} int64, for outputs of this size; got {got}. For labels of another "
            "kind, name a task: regression, multilabel, segmentation, language-modelling."
        )
    return labels.long()


def number_of_classes(labels: Tensor, ignore_index: int) -> int:
    """Return the number of classes 0, 1, ... that labels of whole numbers imply; 0 if all of them are ignored."""
    scored = labels[labels != ignore_index]
    return int(scored.max()) + 1 if scored.numel() else 0


def mean_cross_entropy(outputs: Tensor, labels: Tensor, ignore_index: int, label_smoothing: float) -> Tensor:
    """Return the mean over the items that are not ignored, 0 if there is none; the classes come last."""
    if labels.ndim == 1:
        return F.cross_entropy(outputs, labels, ignore_index=ignore_index, label_smoothing=label_smoothing)
    total = F.cross_entropy(
        outputs.flatten(0, -2),
        labels.flatten(),
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        reduction="sum",
    )
    return total / (labels != ignore_index).sum().clamp(min=1)


def scored_items(outputs: Tensor, labels: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Return scores (items, classes) and labels (items,) of the items that are not ignored; classes come last."""
    kept = labels.flatten() != ignore_index
    return outputs.flatten(0, -2)[kept], labels.flatten()[kept]


def check_classes(labels: Tensor, classes: int, ignore_index: int) -> None:
    """Raise DataError if a label is neither a class nor ignored."""
    scored = labels[labels != ignore_index]
    if scored.numel() and (int(scored.min()) < 0 or int(scored.max()) >= classes):
        advice = " A single score for two classes is the task multilabel." if classes == 1 else ""
        raise DataError(
            f"labels run from {int(scored.min())} to {int(scored.max())}, but the model has {classes} outputs: "
            f"expected labels 0 to {classes - 1}.{advice}"
        )
