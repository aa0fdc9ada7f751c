"""A score of the whole model: detection, retrieval, an external harness."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sized
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from aimc_robust.errors import DataError, DivergenceError, InputError, require_type
from aimc_robust.io.user_code import call
from aimc_robust.statistics.primary_metric import Direction, PrimaryMetric
from aimc_robust.tasks.batches import Batch, examples_in, select, unlabelled
from aimc_robust.tasks.measurement import Measurement
from aimc_robust.tasks.metrics import Metric, require_free_columns
from aimc_robust.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class ModelScore(Task):
    """What a function returns for a model and all batches: `score(model, batches) -> {name: value}`.

    Batches reach the function as they are. It must not change the model or the batches, nor keep the model: the next
    chip uses its memory again. There is no loss, so that such a task can be evaluated, but neither trained nor
    predicted.

    Args:
        score: The function.
        metric: Name of the primary metric, a key of what `score` returns; the other keys are further columns.
        better: Whether `higher` or `lower` values of the primary metric are better.
        unit: Unit of the primary metric, such as `%`.
        bounds: Lowest and highest possible value of the primary metric.
    """

    takes_any_batches: ClassVar[bool] = True
    score: Callable[[nn.Module, Iterable[Any]], Mapping[str, Any]]
    metric: str
    better: Direction = "higher"
    unit: str = ""
    bounds: tuple[float, float] = (-math.inf, math.inf)

    def __post_init__(self) -> None:
        require_type("score", self.score, Callable, example="a function (model, batches) -> {name: value}")
        _ = self.primary

    @property
    def primary(self) -> PrimaryMetric:
        """The metric that was named."""
        return PrimaryMetric(self.metric, self.unit, self.better, self.bounds)

    def unpack(self, batch: Batch) -> tuple[Any, Any]:
        """Return what comes first in a batch, and nothing as labels."""
        return unlabelled(batch), None

    def example(self, batches: Iterable[Batch]) -> Any:
        """Return the first inputs, a single example where they are tensors (N, ...)."""
        for batch in batches:
            inputs = unlabelled(batch)
            return inputs if isinstance(inputs, list) else select(inputs, slice(1))
        raise DataError("expected at least one batch, got none.")

    @torch.no_grad()
    def measure(
        self, model: nn.Module, batches: Iterable[Batch], metrics: Mapping[str, Metric] | None = None
    ) -> Measurement:
        """Call the function; `n` is the number of examples in the batches.

        Raises:
            DataError: if there is no batch.
            DivergenceError: if the primary metric is not finite.
            InputError: if the function raises, or returns no numbers or not the primary metric.
        """
        if metrics:
            raise InputError(
                f"further metrics of a model's score are keys of what it returns; got {', '.join(metrics)}."
            )
        counted = _Counted(batches)
        found = call(self.score, model, counted, what="the score of the model")
        if not isinstance(found, Mapping) or self.metric not in found:
            names = ", ".join(map(str, found)) if isinstance(found, Mapping) else type(found).__name__
            raise InputError(f"expected the score of the model to return {{{self.metric!r}: value, ...}}, got {names}.")
        require_free_columns(map(str, found), "score of the model")
        values = {str(name): call(float, value, what=f"the score {name!r}") for name, value in found.items()}
        value = values.pop(self.metric)
        if not math.isfinite(value):
            raise DivergenceError(f"the {self.primary.title} of the model is {value}.")
        further = tuple((name, value if math.isfinite(value) else None) for name, value in values.items())
        return Measurement(self.metric, value, None, counted.examples, further)

    def align(self, outputs: Tensor, labels: Any) -> tuple[Tensor, Tensor]:
        """Raise InputError: there are no labels."""
        raise no_loss()

    def loss(self, outputs: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Raise InputError: there is no loss."""
        raise no_loss()


class _Counted:
    """Batches that count the examples of the longest pass over them."""

    def __init__(self, batches: Iterable[Any]) -> None:
        self.batches, self.examples = batches, 0

    def __iter__(self) -> Any:
        count = 0
        for batch in self.batches:
            count += _examples(batch)
            self.examples = max(self.examples, count)
            yield batch


def _examples(batch: Any) -> int:
    first = batch[0] if isinstance(batch, tuple | list) and batch else batch
    if isinstance(first, list):  # of images, for detection
        return len(first)
    return examples_in(batch) or (len(batch) if isinstance(batch, Sized) else 1)


def no_loss() -> InputError:
    """Return the error for a task without a loss where one is needed."""
    return InputError(
        "the task is a score of the whole model, which has no loss; use a task with one, such as regression."
    )
