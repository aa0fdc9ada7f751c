"""The base class of tasks."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from aimc_robust.errors import DataError, DivergenceError
from aimc_robust.statistics.primary_metric import PrimaryMetric
from aimc_robust.tasks.batches import Batch, select, unpack
from aimc_robust.tasks.calling import call_model, main_output
from aimc_robust.tasks.measurement import Measurement
from aimc_robust.tasks.metrics import Metric, evaluate_metric


class Accumulator(Protocol):
    """A metric that is computed batch by batch; those of torchmetrics are too."""

    def update(self, outputs: Tensor, labels: Tensor, /) -> None:
        """Add a batch."""

    def compute(self) -> Any:
        """Return the value over all batches: a number."""


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """What a model is for: how a batch is unpacked, how the model is called, and what is scored.

    A task of one's own defines `primary`, `check`, `loss` and `accumulators`. It may replace `unpack` and `predict`,
    which take what is common, see `batches.unpack` and `calling.main_output`.

    Attributes:
        items: What is scored and counted, in the plural, such as `images` or `tokens`.
    """

    items: ClassVar[str] = "examples"

    @property
    @abstractmethod
    def primary(self) -> PrimaryMetric:
        """The metric that estimates, tests and reports are made of."""

    @abstractmethod
    def check(self, outputs: Tensor, labels: Any) -> tuple[Tensor, Tensor]:
        """Return outputs and labels in the form that `loss`, `count` and the metrics take.

        Raises:
            DataError: if they do not match, in a sentence that says what was expected.
        """

    @abstractmethod
    def loss(self, outputs: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Return the mean loss over the items of a batch, a scalar that training minimizes."""

    @abstractmethod
    def accumulators(self) -> dict[str, Accumulator]:
        """Return name -> metric without a batch; `primary` is among them."""

    def count(self, labels: Tensor) -> int:
        """Return the number of items in a batch, its weight in the mean loss."""
        return len(labels)

    def unpack(self, batch: Batch) -> tuple[Any, Any]:
        """Return (inputs, labels) of a batch."""
        return unpack(batch)

    def predict(self, model: nn.Module, inputs: Any) -> Any:
        """Return the model's main output for the inputs of a batch."""
        return main_output(call_model(model, inputs))

    def batch_loss(self, model: nn.Module, batch: Batch, label_smoothing: float = 0.0) -> Tensor:
        """Return the mean loss of a batch, with its graph."""
        inputs, labels = self.unpack(batch)
        return self.loss(*self.check(self.predict(model, inputs), labels), label_smoothing)

    def example(self, batches: Iterable[Batch]) -> Any:
        """Return the inputs of a single example; raise DataError if there is none."""
        for batch in batches:
            return select(self.unpack(batch)[0], slice(1))
        raise no_batches()

    @torch.inference_mode()
    def measure(
        self, model: nn.Module, batches: Iterable[Batch], metrics: Mapping[str, Metric] | None = None
    ) -> Measurement:
        """Measure a model in its current mode (set evaluation mode first).

        All outputs are kept in memory only if there are `metrics`, which are name -> function of all outputs and
        labels. Losses of 16-bit outputs are computed in float32.

        Raises:
            DataError: if there is no item, or labels do not match the outputs.
            DivergenceError: if a loss is NaN, as of outputs that are NaN, or the primary metric is not finite.
            InputError: if a metric raises or does not return a number.
        """
        loss, n = 0.0, 0
        scores = self.accumulators()
        kept: list[tuple[Tensor, Tensor]] = []
        for batch in batches:
            inputs, labels = self.unpack(batch)
            outputs, labels = self.check(self.predict(model, inputs), labels)
            outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
            count = self.count(labels)
            if count == 0:
                continue
            batch_loss = float(self.loss(outputs, labels))
            if math.isnan(batch_loss):
                raise DivergenceError(f"the model returned NaN or infinite values for a batch of {count} {self.items}.")
            loss += batch_loss * count
            n += count
            for score in scores.values():
                score.update(outputs, labels)
            if metrics:
                kept.append((outputs, labels))
        if n == 0:
            raise no_batches()
        values = {name: float(score.compute()) for name, score in scores.items()}
        value = values.pop(self.primary.name)
        if not math.isfinite(value):
            raise DivergenceError(f"the {self.primary.title} of the model's outputs is {value}.")
        further = {name: value if math.isfinite(value) else None for name, value in values.items()}
        if metrics:
            every = [torch.cat(parts) for parts in zip(*kept, strict=True)]
            further |= {name: evaluate_metric(name, metric, *every) for name, metric in metrics.items()}
        return Measurement(self.primary.name, value, loss / n, n, tuple(further.items()))


def no_batches() -> DataError:
    """Return the error for data without an item to score."""
    return DataError("expected at least one batch of inputs and labels, got none.")
