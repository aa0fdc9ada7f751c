"""Multi-label classification: any number of labels for each example, also a single yes or no."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from aimc_robust.errors import DataError, require_known, warn
from aimc_robust.statistics.primary_metric import PrimaryMetric
from aimc_robust.tasks.divergence import label_divergence
from aimc_robust.tasks.regression import describe_labels, refuse_label_smoothing
from aimc_robust.tasks.task import Accumulator, Task

MultilabelMetric = Literal["f1_macro", "f1_micro", "mean_average_precision"]
METRICS = {
    "f1_macro": PrimaryMetric("f1_macro", "%", "higher", (0.0, 100.0), title="macro F1"),
    "f1_micro": PrimaryMetric("f1_micro", "%", "higher", (0.0, 100.0), title="micro F1"),
    "mean_average_precision": PrimaryMetric("mean_average_precision", "%", "higher", (0.0, 100.0), title="mAP"),
}


@dataclass(frozen=True, kw_only=True)
class Multilabel(Task):
    """Scores (N, labels) before the sigmoid, and labels (N, labels) of 0 and 1; (N,) for a single label.

    The loss is the binary cross-entropy [nats].

    Args:
        metric: The primary metric [percent]: F1, at a threshold of 0.5, as mean over the labels or over all decisions
            together; or the mean over the labels of the average precision. All three are columns. A label that no
            example has does not count in mean average precision, nor in macro F1 if it is never predicted either.
    """

    metric: MultilabelMetric = "f1_macro"

    def __post_init__(self) -> None:
        require_known("metric of multilabel", self.metric, get_args(MultilabelMetric))

    @property
    def primary(self) -> PrimaryMetric:
        """The metric that was chosen."""
        return METRICS[self.metric]

    @property
    def others(self) -> tuple[PrimaryMetric, ...]:
        """The metrics of all three columns."""
        return tuple(METRICS.values())

    def align(self, outputs: Tensor, labels: Any) -> tuple[Tensor, Tensor]:
        """Return scores and labels (N, labels) of one shape, see `Task.align`."""
        if isinstance(labels, Tensor) and outputs.shape == (*labels.shape, 1):
            labels = labels.unsqueeze(-1)
        if isinstance(labels, Tensor) and labels.ndim == 1 and labels.shape == outputs.shape:
            outputs, labels = outputs.unsqueeze(-1), labels.unsqueeze(-1)
        if not isinstance(labels, Tensor) or labels.shape != outputs.shape or labels.ndim != 2:
            raise DataError(
                f"expected labels of 0 and 1 of the shape of the model's outputs, {tuple(outputs.shape)}; got "
                f"{describe_labels(labels)}."
            )
        return outputs, labels.to(outputs.dtype)

    def check(self, outputs: Tensor, labels: Tensor) -> None:
        """Raise DataError if a label is neither 0 nor 1."""
        if not ((labels == 0) | (labels == 1)).all():
            raise DataError("expected 0 or 1 for each label of each example, got other numbers.")

    def outputs(self, labels: Tensor) -> int:
        """Return the number of numbers in a label."""
        return math.prod(labels.shape[1:])

    def loss(self, outputs: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Return the mean binary cross-entropy."""
        refuse_label_smoothing(label_smoothing)
        return F.binary_cross_entropy_with_logits(outputs, labels)

    def divergence(self, outputs: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> Tensor:
        """Return the divergence of the probabilities of each label."""
        return label_divergence(outputs, teacher, temperature)

    def accumulators(self) -> dict[str, Accumulator]:
        """Return the three metrics."""
        return {"f1_macro": _F1(micro=False), "f1_micro": _F1(micro=True), "mean_average_precision": _MeanPrecision()}


class _F1:
    def __init__(self, *, micro: bool) -> None:
        self.micro = micro
        self.ends: list[tuple[Tensor, Tensor]] = []  # lowest and highest output of each batch
        self.hits = self.decided = self.present = torch.zeros((), dtype=torch.int64)

    def update(self, outputs: Tensor, labels: Tensor, /) -> None:
        self.ends.append(outputs.aminmax())
        decided, present = outputs > 0, labels == 1
        self.hits = self.hits + (decided & present).sum(0)
        self.decided, self.present = self.decided + decided.sum(0), self.present + present.sum(0)

    def compute(self) -> float:
        if not self.micro and all(low >= 0.0 and high <= 1.0 for low, high in self.ends):
            warn(
                "expected scores before the sigmoid from a multilabel model, got only outputs between 0 and 1; if the "
                "model ends in a sigmoid, remove it, because every score above 0 counts as a yes.",
            )
        hits, total = self.hits.double(), (self.decided + self.present).double()
        if self.micro:
            return 100.0 * float(2.0 * hits.sum() / total.sum())
        return 100.0 * float((2.0 * hits / total)[total > 0].mean())  # NaN if there is none, as for micro


class _MeanPrecision:
    def __init__(self) -> None:
        self.outputs: list[Tensor] = []
        self.labels: list[Tensor] = []

    def update(self, outputs: Tensor, labels: Tensor, /) -> None:
        self.outputs.append(outputs.cpu())
        self.labels.append(labels.cpu())

    def compute(self) -> float:
        from sklearn.metrics import average_precision_score  # slow to import

        outputs, labels = torch.cat(self.outputs).double().numpy(), torch.cat(self.labels).numpy()
        counted = labels.any(axis=0)
        if not counted.any():
            return math.nan
        return 100.0 * float(average_precision_score(labels[:, counted], outputs[:, counted], average="macro"))
