"""Semantic segmentation: one class for each pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from aimc_robust.errors import DataError, require_type
from aimc_robust.statistics.primary_metric import PrimaryMetric
from aimc_robust.tasks.classification import (
    check_classes,
    class_labels,
    mean_cross_entropy,
    number_of_classes,
    scored_items,
)
from aimc_robust.tasks.divergence import class_divergence
from aimc_robust.tasks.task import Accumulator, Task

MIOU = PrimaryMetric("miou", "%", "higher", (0.0, 100.0), title="mIoU")
PIXEL_ACCURACY = PrimaryMetric("pixel_accuracy", "%", "higher", (0.0, 100.0))


@dataclass(frozen=True, kw_only=True)
class Segmentation(Task):
    """Scores (N, classes, H, W) and labels (N, H, W). Scores of another resolution are scaled bilinearly to the labels.

    The loss is the cross-entropy over all pixels [nats]. The primary metric is the mean over the classes of
    intersection over union, of all images together; classes that neither labels nor predictions hold do not count.

    Args:
        ignore_index: Label of pixels that are not scored.
    """

    items: ClassVar[str] = "pixels"
    batch_size: ClassVar[int] = 8
    ignore_index: int = 255

    def __post_init__(self) -> None:
        require_type("ignore_index", self.ignore_index, int, example="a whole number such as -100")

    @property
    def primary(self) -> PrimaryMetric:
        """Mean intersection over union [percent]."""
        return MIOU

    @property
    def others(self) -> tuple[PrimaryMetric, ...]:
        """The accuracy of the pixels."""
        return (PIXEL_ACCURACY,)

    def align(self, outputs: Tensor, labels: Any) -> tuple[Tensor, Tensor]:
        """Return scores at the resolution of the labels, and labels as int64, see `Task.align`."""
        if isinstance(labels, Tensor) and labels.ndim == 4 and labels.shape[1] == 1:
            labels = labels.squeeze(1)
        if outputs.ndim != 4 or (isinstance(labels, Tensor) and len(labels) != len(outputs)):
            raise DataError(
                f"expected the model to return (N, classes, H, W) scores, one N for scores and labels; got "
                f"{tuple(outputs.shape)}."
            )
        if isinstance(labels, Tensor) and labels.ndim == 3 and labels.shape[1:] != outputs.shape[2:]:
            outputs = F.interpolate(outputs, size=tuple(labels.shape[1:]), mode="bilinear", align_corners=False)
        labels = class_labels(
            labels, torch.Size((len(outputs), *outputs.shape[2:])), "one whole number, the class, for each pixel"
        )
        return outputs, labels

    def check(self, outputs: Tensor, labels: Tensor) -> None:
        """Raise DataError if a label is neither a class nor ignored."""
        check_classes(labels, outputs.shape[1], self.ignore_index)

    def outputs(self, labels: Tensor) -> int:
        """Return the number of classes."""
        return number_of_classes(labels, self.ignore_index)

    def count(self, labels: Tensor) -> int:
        """Return the number of pixels that are scored."""
        return int((labels != self.ignore_index).sum())

    def scored(self, outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores (pixels, classes) and labels (pixels,) of those that are not ignored."""
        return scored_items(outputs.movedim(1, -1), labels, self.ignore_index)

    def loss(self, outputs: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Return the mean cross-entropy."""
        return mean_cross_entropy(outputs.movedim(1, -1), labels, self.ignore_index, label_smoothing)

    def divergence(self, outputs: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> Tensor:
        """Return the divergence of the class probabilities of what is scored."""
        return class_divergence(
            outputs.movedim(1, -1), teacher.movedim(1, -1), labels != self.ignore_index, temperature
        )

    def accumulators(self) -> dict[str, Accumulator]:
        """Return the mean intersection over union, and the accuracy of the pixels."""
        return {"miou": _MeanIoU(self.ignore_index), "pixel_accuracy": _PixelAccuracy(self.ignore_index)}


class _Confusion:
    """Counts of (label, prediction)."""

    def __init__(self, ignore_index: int) -> None:
        self.ignore_index = ignore_index
        self.counts = torch.zeros((), dtype=torch.int64)

    def update(self, outputs: Tensor, labels: Tensor, /) -> None:
        classes, scored = outputs.shape[1], labels != self.ignore_index
        pairs = labels[scored] * classes + outputs.argmax(dim=1)[scored]
        self.counts = self.counts + pairs.bincount(minlength=classes**2).view(classes, classes)


class _MeanIoU(_Confusion):
    def compute(self) -> float:
        hits = self.counts.diagonal().double()
        union = self.counts.sum(0) + self.counts.sum(1) - self.counts.diagonal()
        return 100.0 * float((hits / union)[union > 0].mean())


class _PixelAccuracy(_Confusion):
    def compute(self) -> float:
        return 100.0 * float(self.counts.diagonal().sum() / self.counts.sum())
