"""Regression: one or several numbers for each example."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from aimc_robust.errors import DataError, InputError, require_known
from aimc_robust.statistics.primary_metric import PrimaryMetric
from aimc_robust.tasks.task import Accumulator, Task

RegressionMetric = Literal["rmse", "mae", "r2"]
METRICS = {
    "rmse": PrimaryMetric("rmse", "", "lower", (0.0, math.inf), title="root mean square error"),
    "mae": PrimaryMetric("mae", "", "lower", (0.0, math.inf), title="mean absolute error"),
    "r2": PrimaryMetric("r2", "", "higher", (-math.inf, 1.0), title="R²"),
}


@dataclass(frozen=True, kw_only=True)
class Regression(Task):
    """Numbers (N, ...) for labels of the same shape; (N, 1) outputs match labels (N,). The loss is the squared error.

    Args:
        metric: The primary metric, in units of the labels: root mean square error, mean absolute error, or the
            coefficient of determination (its mean over the outputs). All three are columns.
    """

    metric: RegressionMetric = "rmse"

    def __post_init__(self) -> None:
        require_known("metric of regression", self.metric, get_args(RegressionMetric))

    @property
    def primary(self) -> PrimaryMetric:
        """The metric that was chosen."""
        return METRICS[self.metric]

    @property
    def others(self) -> tuple[PrimaryMetric, ...]:
        """The metrics of all three columns."""
        return tuple(METRICS.values())

    def align(self, outputs: Tensor, labels: Any) -> tuple[Tensor, Tensor]:
        """Return outputs and labels as numbers of one shape, see `Task.align`."""
        if not isinstance(labels, Tensor) or labels.is_complex() or labels.ndim == 0:
            raise DataError(f"expected numbers (N, ...) as labels, got {describe_labels(labels)}.")
        if outputs.shape == (*labels.shape, 1):
            labels = labels.unsqueeze(-1)
        elif labels.shape == (*outputs.shape, 1):
            outputs = outputs.unsqueeze(-1)
        if outputs.shape != labels.shape:
            raise DataError(
                f"expected as many numbers from the model as labels, {tuple(labels.shape)}; got {tuple(outputs.shape)}."
            )
        dtype = torch.promote_types(outputs.dtype, torch.float32)  # half precision would round the labels
        return outputs.to(dtype), labels.to(dtype)

    def check(self, outputs: Tensor, labels: Tensor) -> None:
        """Raise DataError if a label is not finite."""
        if not labels.isfinite().all():
            raise DataError("expected finite numbers as labels, got NaN or infinity; leave these examples out.")

    def outputs(self, labels: Tensor) -> int:
        """Return the number of numbers in a label."""
        return math.prod(labels.shape[1:])

    def loss(self, outputs: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Return the mean squared error."""
        refuse_label_smoothing(label_smoothing)
        return F.mse_loss(outputs, labels)

    def divergence(self, outputs: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> Tensor:
        """Return the mean squared difference."""
        return F.mse_loss(outputs, teacher)

    def accumulators(self) -> dict[str, Accumulator]:
        """Return the three metrics, the primary one first."""
        errors = _Errors()
        names: list[str] = sorted(METRICS, key=lambda name: name != self.metric)
        return {name: _Part(errors, name, updates=number == 0) for number, name in enumerate(names)}


class _Errors:
    """Sums over examples in float64, for each output."""

    def __init__(self) -> None:
        self.n = 0
        self.squares = self.absolutes = self.mean = self.spread = torch.zeros(())

    def add(self, outputs: Tensor, labels: Tensor) -> None:
        outputs, labels = (x.double().reshape(len(x), -1) for x in (outputs, labels))
        n, mean = len(labels), labels.mean(0)
        if self.n and mean.shape != self.mean.shape:
            raise DataError(
                f"expected as many numbers for each example of every batch, got {len(mean)} after {len(self.mean)}."
            )
        self.squares = self.squares + (outputs - labels).square().sum(0)
        self.absolutes = self.absolutes + (outputs - labels).abs().sum(0)
        # The spread around the common mean of two parts, without the cancellation of a difference of squares.
        shift = mean - self.mean
        self.spread = self.spread + (labels - mean).square().sum(0) + shift.square() * (n * self.n / (n + self.n))
        self.mean = self.mean + shift * (n / (n + self.n))
        self.n += n


class _Part:
    """One of the metrics of `_Errors`, which one of them updates for all."""

    def __init__(self, errors: _Errors, name: str, *, updates: bool) -> None:
        self.errors, self.name, self.updates = errors, name, updates

    def update(self, outputs: Tensor, labels: Tensor, /) -> None:
        if self.updates:
            self.errors.add(outputs, labels)

    def compute(self) -> float:
        errors = self.errors
        if self.name == "r2":
            return float((1.0 - errors.squares / errors.spread).mean()) if errors.spread.all() else math.nan
        if self.name == "mae":
            return float(errors.absolutes.mean()) / errors.n
        return math.sqrt(float(errors.squares.mean()) / errors.n)


def describe_labels(labels: Any) -> str:
    """Return dtype and shape of labels, as part of a sentence."""
    return f"{labels.dtype} {tuple(labels.shape)}" if isinstance(labels, Tensor) else type(labels).__name__


def refuse_label_smoothing(label_smoothing: float) -> None:
    """Raise InputError for a task whose labels are no classes."""
    if label_smoothing:
        raise InputError("label_smoothing is for labels that are classes; set it to 0 for this task.")
