"""The base class of tasks."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from aimc_robust.errors import DataError, DivergenceError, InputError
from aimc_robust.float32_convolutions import float32_convolutions
from aimc_robust.io.user_code import call
from aimc_robust.statistics.primary_metric import PrimaryMetric
from aimc_robust.tasks.batches import Batch, select, unpack
from aimc_robust.tasks.calling import call_model, main_output
from aimc_robust.tasks.measurement import Measurement
from aimc_robust.tasks.metrics import Metric, evaluate_metric, require_free_columns


class Accumulator(Protocol):
    """A metric that is computed batch by batch; those of torchmetrics are too."""

    def update(self, outputs: Tensor, labels: Tensor, /) -> None:
        """Add a batch."""

    def compute(self) -> Any:
        """Return the value over all batches: a number."""


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """What a model is for: how a batch is unpacked, how the model is called, and what is scored.

    A task of one's own defines `primary`, `align`, `loss` and `metrics_of_loss` or `accumulators`. It may replace
    `unpack` and `predict`, which take what is common, see `batches.unpack` and `calling.main_output`.

    Attributes:
        items: What is scored and counted, in the plural, such as `images` or `tokens`.
        batch_size: Examples in a batch of data that are given as a whole.
        needs_labels: Whether two tensors are inputs and labels, and not two batches of inputs.
        takes_any_batches: Whether batches may be of any kind and are passed on as they are.
    """

    items: ClassVar[str] = "examples"
    batch_size: ClassVar[int] = 512
    needs_labels: ClassVar[bool] = True
    takes_any_batches: ClassVar[bool] = False

    @property
    @abstractmethod
    def primary(self) -> PrimaryMetric:
        """The metric that estimates, tests and reports are made of."""

    @property
    def others(self) -> tuple[PrimaryMetric, ...]:
        """What is known of its further columns: which values are better, units, bounds."""
        return ()

    @abstractmethod
    def align(self, outputs: Tensor, labels: Any) -> tuple[Tensor, Tensor]:
        """Return outputs and labels in the shapes that `check`, `loss`, `count` and the metrics take.

        Raises:
            DataError: if they do not match, in a sentence that says what was expected.
        """

    def check(self, outputs: Tensor, labels: Tensor) -> None:  # noqa: B027 (some tasks take any labels)
        """Raise DataError if a label has a value that the outputs have no place for; not called in training."""

    @abstractmethod
    def loss(self, outputs: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Return the mean loss over the items of a batch, a scalar that training minimizes."""

    def divergence(self, outputs: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> Tensor:
        """Return how far the outputs of a batch are from a teacher's, both from `align`; a scalar, see `Distillation`.

        Raises:
            InputError: if the task defines none.
        """
        raise InputError(
            f"distillation is not defined for the task {type(self).__name__}: give it a method `divergence`, or train "
            "without distillation."
        )

    def accumulators(self) -> dict[str, Accumulator]:
        """Return name -> metric without a batch."""
        return {}

    def metrics_of_loss(self, loss: float) -> dict[str, float]:
        """Return name -> metric that is a function of the mean loss over all items."""
        return {}

    def require_other_columns(self, metrics: Iterable[str]) -> None:
        """Raise InputError if further metrics have names of the task's own, or these are those of other columns."""
        own = {*self.accumulators(), *self.metrics_of_loss(0.0)}
        require_free_columns(own, "metric of the task")
        if same := sorted(own & set(metrics)):
            raise InputError(f"{same[0]!r} is a metric of the task already; leave it out, or rename the function.")

    def count(self, labels: Tensor) -> int:
        """Return the number of items in a batch, its weight in the mean loss."""
        return len(labels)

    def scored(self, outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return outputs and labels of the items that are scored, one row each, as further metrics take them."""
        return outputs, labels

    def outputs(self, labels: Tensor) -> int:
        """Return how many outputs a network needs for labels (N, ...): one for each class, or for each number."""
        return math.prod(labels.shape[1:]) if labels.is_floating_point() else int(labels.max()) + 1

    def unpack(self, batch: Batch) -> tuple[Any, Any]:
        """Return (inputs, labels) of a batch."""
        return unpack(batch)

    def predict(self, model: nn.Module, inputs: Any) -> Any:
        """Return the model's main output for the inputs of a batch."""
        return main_output(call_model(model, inputs))

    def run(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the model's outputs for a batch, and its labels, see `align`."""
        inputs, labels = self.unpack(batch)
        outputs = self.predict(model, inputs)
        if isinstance(outputs, Tensor) and (not outputs.is_floating_point() or outputs.layout != torch.strided):
            raise DataError(f"expected floating-point numbers in a dense tensor from the model, got {outputs.dtype}.")
        return self.align(outputs, labels)

    def example(self, batches: Iterable[Batch]) -> Any:
        """Return the inputs of a single example; raise DataError if there is none."""
        for batch in batches:
            return select(self.unpack(batch)[0], slice(1))
        raise no_batches()

    @torch.inference_mode()
    @float32_convolutions()
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
        self.require_other_columns(metrics or {})
        loss, n = 0.0, 0
        scores = self.accumulators()
        kept: list[tuple[Tensor, Tensor]] = []
        for batch in batches:
            outputs, labels = self.run(model, batch)
            self.check(outputs, labels)
            outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
            count = self.count(labels)
            if count == 0:
                continue
            batch_loss = float(self.loss(outputs, labels))
            if math.isnan(batch_loss):
                raise self._not_finite(outputs, labels)
            loss += batch_loss * count
            n += count
            for score in scores.values():
                score.update(outputs, labels)
            if metrics:
                kept.append(self.scored(outputs, labels))
        if n == 0:
            raise no_batches(self.items)
        values = {name: call(_number, score, what=f"the metric {name!r}") for name, score in scores.items()}
        values |= self.metrics_of_loss(loss / n)
        if self.primary.name not in values:
            raise InputError(
                f"expected the primary metric {self.primary.name!r} of {type(self).__name__} among what accumulators() "
                f"and metrics_of_loss() return, got {', '.join(values) or 'none'}."
            )
        value = values.pop(self.primary.name)
        if math.isnan(value) and math.isfinite(loss):
            raise DataError(f"the {self.primary.title} is not defined for these labels: it is NaN; use another metric.")
        if not math.isfinite(value):
            raise DivergenceError(f"the {self.primary.title} of the model's outputs is {value}.")
        further = {name: value if math.isfinite(value) else None for name, value in values.items()}
        if metrics:
            every = [torch.cat(parts) for parts in zip(*kept, strict=True)]
            further |= {name: evaluate_metric(name, metric, *every) for name, metric in metrics.items()}
        return Measurement(self.primary.name, value, loss / n, n, tuple(further.items()))

    def _not_finite(self, outputs: Tensor, labels: Tensor) -> DivergenceError:
        pairs = zip(outputs.split(1), labels.split(1), strict=True)
        undefined = sum(math.isnan(self.loss(*pair)) for pair in pairs if self.count(pair[1]))
        items = self.items if self.count(labels) == len(labels) else "examples"
        return DivergenceError(
            f"the model returned NaN or infinite values for {undefined} of {len(labels)} {items} of a batch."
        )


def _number(score: Accumulator) -> float:
    return float(score.compute())


def no_batches(items: str = "examples") -> DataError:
    """Return the error for data without an item to score."""
    return DataError(f"expected at least one batch of inputs and labels with {items} that are scored, got none.")
