"""Accuracy, loss and user-defined metrics of a model on labelled batches."""

import math
import reprlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aimc_robust.errors import DataError, InputError

Batch = tuple[Tensor, Tensor]
Metric = Callable[[Tensor, Tensor], Any]
"""(outputs (N, classes), labels (N,)) of all images -> one number. It need not be a mean over images."""

BUILT_IN_METRICS = ("accuracy", "loss", "n", "top5")  # names that a user-defined metric may not use
TOP_K = 5


class Measurement(NamedTuple):
    """Result of `measure`.

    Attributes:
        accuracy: Top-1 accuracy [percent].
        loss: Mean cross-entropy without label smoothing [nats].
        n: Number of images.
        top5: Images whose label is among the five highest scores [percent]; None for at most five classes.
        metrics: (name, value) of each user-defined metric; None for a value that is not finite.
    """

    accuracy: float
    loss: float
    n: int
    top5: float | None = None
    metrics: tuple[tuple[str, float | None], ...] = ()

    def row(self) -> dict[str, float | int | None]:
        """Return the measurement as a table row: column -> value."""
        top5 = {} if self.top5 is None else {"top5": self.top5}
        return {"accuracy": self.accuracy, "loss": self.loss, "n": self.n, **top5, **dict(self.metrics)}


@torch.inference_mode()
def measure(model: nn.Module, batches: Iterable[Batch], metrics: Mapping[str, Metric] | None = None) -> Measurement:
    """Measure accuracy, loss and metrics of a model.

    Args:
        model: Model, run in its current mode (set evaluation mode first).
        batches: (inputs, labels) batches.
        metrics: Name -> function; all outputs are kept in memory only if there are metrics.

    Returns:
        The measurement.

    Raises:
        DataError: if there are no images or labels do not match the outputs.
        InputError: if a metric raises or does not return a number.
    """
    correct, top5_correct, loss, n, classes = 0, 0, 0.0, 0, 0
    scored: list[Batch] = []
    for inputs, labels in map(labelled, batches):
        scores = model(inputs)
        labels = check_labels(scores, labels)
        correct += int((scores.argmax(dim=1) == labels).sum())
        classes = scores.shape[1]
        if classes > TOP_K:
            top5_correct += int((scores.topk(TOP_K, dim=1).indices == labels[:, None]).sum())
        loss += float(F.cross_entropy(scores, labels, reduction="sum"))
        n += len(labels)
        if metrics:
            scored.append((scores, labels))
    if n == 0:
        raise DataError("expected at least one batch of images and labels, got none.")
    values: tuple[tuple[str, float | None], ...] = ()
    if metrics:
        outputs, targets = (torch.cat(parts) for parts in zip(*scored, strict=True))
        values = tuple((name, _evaluate_metric(name, metric, outputs, targets)) for name, metric in metrics.items())
    top5 = 100.0 * top5_correct / n if classes > TOP_K else None
    return Measurement(100.0 * correct / n, loss / n, n, top5, values)


def labelled(batch: Any) -> Batch:
    """Return a batch after a check that it is a pair of inputs and labels.

    Raises:
        DataError: if it is not.
    """
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise DataError(f"expected an (inputs, labels) pair as each batch, got {reprlib.repr(batch)}.")
    for part in batch:
        if isinstance(part, np.ndarray | list | str | float):
            raise DataError(f"expected tensors as inputs and labels of each batch, got {type(part).__name__}.")
    return batch[0], batch[1]


def check_metrics(metrics: Mapping[str, Metric] | None) -> None:
    """Raise `InputError` if a metric is not a function or has a reserved name."""
    if not isinstance(metrics, Mapping | None):
        raise InputError(f"metrics must be a dict of name and function, such as {{'recall': recall}}; got {metrics!r}.")
    for name, metric in (metrics or {}).items():
        if name in (*BUILT_IN_METRICS, "train_seed", "chip") or not callable(metric):
            raise InputError(
                f"the metric {name!r} must be a function of (outputs, labels) under a name other than "
                f"{', '.join(BUILT_IN_METRICS)}, seed and chip; got {metric!r}."
            )


def check_labels(scores: Any, labels: Any) -> Tensor:
    """Return the labels as int64, after a check that labels and scores (N, classes) match."""
    if not isinstance(labels, Tensor) or labels.ndim != 1 or labels.is_floating_point() or labels.is_complex():
        got = f"{labels.dtype} {tuple(labels.shape)}" if isinstance(labels, Tensor) else type(labels).__name__
        raise DataError(f"expected one whole number, the class, as the label of each image, (N,) int64; got {got}.")
    if not isinstance(scores, Tensor) or scores.ndim != 2 or len(scores) != len(labels):
        got = str(tuple(scores.shape)) if isinstance(scores, Tensor) else type(scores).__name__
        raise DataError(f"expected the model to return ({len(labels)} images, classes) scores, got {got}.")
    if len(labels) and (int(labels.min()) < 0 or int(labels.max()) >= scores.shape[1]):
        raise DataError(
            f"labels run from {int(labels.min())} to {int(labels.max())}, but the model has {scores.shape[1]} outputs: "
            f"expected labels 0 to {scores.shape[1] - 1}."
        )
    return labels.long()


def _evaluate_metric(name: str, metric: Metric, outputs: Tensor, labels: Tensor) -> float | None:
    try:
        value = float(metric(outputs, labels))
    except Exception as error:  # a user's function may raise anything
        raise InputError(
            f"the metric {name!r} failed with {type(error).__name__}: {error}. It is called with outputs "
            f"{tuple(outputs.shape)} and labels {tuple(labels.shape)} of all images, and returns one number."
        ) from None
    return value if math.isfinite(value) else None
