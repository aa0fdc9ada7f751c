"""Accuracy, loss and named metrics of a model on labelled batches."""

import math
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aimc_robust.errors import AimcError, DataError, DivergenceError, InputError, is_out_of_memory, unknown_name
from aimc_robust.io.user_code import import_callable, is_reference

Batch = tuple[Tensor, Tensor]
Metric = Callable[[Tensor, Tensor], Any]
"""(outputs (N, classes), labels (N,)) of all images -> one number. It need not be a mean over images."""
Metrics = Mapping[str, Metric] | Sequence[str] | None
"""Column -> metric, or the names of metrics, see `metric_columns`."""

RESERVED = {
    "model", "train_seed", "target", "backend", "sigma", "time_s", "chip", "accuracy", "loss", "n",
    "mean", "ci_low", "ci_high", "covers", "half_width", "skewness", "skewed_low", "skewed_high", "sd_noise", "sd_seed",
    "var_noise", "var_noise_low", "var_noise_high", "var_seed", "var_chip", "reached_by_95", "median", "worst",
    "worst_train_seed", "worst_chip", "sampling", "chips", "models", "yield", "yield_low", "yield_high",
}  # fmt: skip
"""Other columns of the rows and of summary.csv: no metric may use their names."""


def top5(outputs: Tensor, labels: Tensor) -> Tensor:
    """Images whose label is among the five highest scores [percent]."""
    if outputs.shape[1] <= 5:
        raise InputError(f"top5 needs more than five classes, got {outputs.shape[1]}")
    return 100.0 * (outputs.topk(5, dim=1).indices == labels[:, None]).any(dim=1).double().mean()


METRICS: dict[str, Metric] = {"top5": top5}
"""Name -> metric. Specs and commands know it by this name, and those of the user's own as `package.module:function`."""


class Measurement(NamedTuple):
    """Result of `measure`.

    Attributes:
        accuracy: Top-1 accuracy [percent].
        loss: Mean cross-entropy without label smoothing [nats].
        n: Number of images.
        metrics: (name, value) of each further metric; None for a value that is not finite.
    """

    accuracy: float
    loss: float
    n: int
    metrics: tuple[tuple[str, float | None], ...] = ()

    def row(self) -> dict[str, float | int | None]:
        """Return the measurement as a table row: column -> value."""
        return {"accuracy": self.accuracy, "loss": self.loss, "n": self.n, **dict(self.metrics)}


@torch.inference_mode()
def measure(model: nn.Module, batches: Iterable[Batch], metrics: Mapping[str, Metric] | None = None) -> Measurement:
    """Measure accuracy, loss and metrics of a model in its current mode (set evaluation mode first).

    All outputs are kept in memory only if there are metrics. Outputs of -infinity are classes of probability 0; NaN and
    +infinity, for which no softmax exists, are an error. Losses of 16-bit outputs are computed in float32.

    Raises:
        DataError: if there are no images or labels do not match the outputs.
        DivergenceError: if an output is NaN or +infinity.
        InputError: if a metric raises or does not return a number.
    """
    correct, loss, n = 0, 0.0, 0
    scored: list[Batch] = []
    for inputs, labels in map(labelled, batches):
        scores = run_model(model, inputs)
        labels = check_labels(scores, labels)
        correct += int((scores.argmax(dim=1) == labels).sum())
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        batch_loss = float(F.cross_entropy(scores, labels, reduction="sum"))
        if math.isnan(batch_loss):
            undefined = int(scores.logsumexp(dim=1).isfinite().logical_not().sum())
            raise DivergenceError(
                f"the model returned NaN or infinite scores for {undefined} of {len(labels)} images of a batch."
            )
        loss += batch_loss
        n += len(labels)
        if metrics:
            scored.append((scores, labels))
    if n == 0:
        raise DataError("expected at least one batch of images and labels, got none.")
    values: tuple[tuple[str, float | None], ...] = ()
    if metrics:
        outputs, targets = (torch.cat(parts) for parts in zip(*scored, strict=True))
        values = tuple((name, evaluate_metric(name, metric, outputs, targets)) for name, metric in metrics.items())
    return Measurement(100.0 * correct / n, loss / n, n, values)


def run_model(model: nn.Module, inputs: Any) -> Any:
    """Call a model on the inputs of a batch; those in float64, numpy's default, are converted to its dtype.

    Raises:
        InputError: if the model does not take the inputs.
    """
    if isinstance(inputs, Tensor) and inputs.dtype == torch.float64:
        dtypes = (parameter.dtype for parameter in model.parameters() if parameter.is_floating_point())
        inputs = inputs.to(next(dtypes, torch.float64))
    try:
        return model(inputs)
    except Exception as error:  # a user's model may raise anything
        if isinstance(error, AimcError) or is_out_of_memory(error):
            raise
        given, advice = f"of type {type(inputs).__name__}", ""
        if isinstance(inputs, Tensor):
            given = f"of shape {tuple(inputs.shape)}, {inputs.dtype}"
            advice = "; pixels in bytes need the normalization of training" if inputs.dtype == torch.uint8 else ""
        reason = " ".join(str(error).split())
        raise InputError(f"the model takes other inputs than those {given}: {reason}{advice}.") from error


def labelled(batch: Any) -> Batch:
    """Return a batch. Raise DataError if it is no pair of inputs and labels."""
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise DataError(f"expected an (inputs, labels) pair as each batch, got {reprlib.repr(batch)}.")
    for part in batch:
        if isinstance(part, list | str | float):
            raise DataError(f"expected tensors as inputs and labels of each batch, got {type(part).__name__}.")
    return batch[0], batch[1]


def as_metrics(metrics: Metrics) -> Mapping[str, Metric]:
    """Return column -> metric. Raise `InputError` if a metric is not a function or has a reserved name."""
    if isinstance(metrics, list | tuple) and all(isinstance(name, str) for name in metrics):
        return load_metrics(metrics)
    if not isinstance(metrics, Mapping | None):
        raise InputError(
            f"metrics must be a dict of name and function, such as {{'recall': recall}}, or a list of names; got "
            f"{metrics!r}."
        )
    metrics = metrics or {}
    for name, metric in metrics.items():
        if name in RESERVED or not callable(metric):
            raise InputError(
                f"the metric {name!r} must be a function of (outputs, labels) under a name that is not another "
                f"column's, as accuracy, loss, n and chip are; got {metric!r}."
            )
    return metrics


def metric_columns(names: Sequence[str]) -> dict[str, str]:
    """Return column -> name of metrics that are named as in METRICS or as `package.module:function`.

    Raises:
        InputError: if a name has neither form, or is that of another column.
    """
    columns: dict[str, str] = {}
    for name in names:
        if name not in METRICS and not is_reference(name):
            raise unknown_name("metric", name, METRICS, advice="One of your own is named package.module:function.")
        column = name.rpartition(":")[2]
        if column in columns or column in RESERVED or (column in METRICS and column != name):
            raise InputError(f"the metric {name!r}: {column!r} is the name of another column; rename the function.")
        columns[column] = name
    return columns


def load_metrics(names: Sequence[str]) -> dict[str, Metric]:
    """Return column -> metric; those of the user's own are imported. Raise InputError as `metric_columns`."""
    return {
        column: METRICS[name] if name in METRICS else import_callable(name, what="metric")
        for column, name in metric_columns(names).items()
    }


def check_labels(scores: Any, labels: Any) -> Tensor:
    """Return the labels as int64, after a check that labels and scores (N, classes) match."""
    if not isinstance(labels, Tensor) or labels.ndim != 1 or labels.is_floating_point() or labels.is_complex():
        got = f"{labels.dtype} {tuple(labels.shape)}" if isinstance(labels, Tensor) else type(labels).__name__
        raise DataError(f"expected one whole number, the class, as the label of each image, (N,) int64; got {got}.")
    if not isinstance(scores, Tensor) or scores.ndim != 2 or len(scores) != len(labels):
        got = str(tuple(scores.shape)) if isinstance(scores, Tensor) else type(scores).__name__
        advice = "; wrap it in a module that returns its .logits" if hasattr(scores, "logits") else ""
        raise DataError(f"expected the model to return ({len(labels)} images, classes) scores, got {got}{advice}.")
    labels = labels.long()
    if len(labels) and (int(labels.min()) < 0 or int(labels.max()) >= scores.shape[1]):
        raise DataError(
            f"labels run from {int(labels.min())} to {int(labels.max())}, but the model has {scores.shape[1]} outputs: "
            f"expected labels 0 to {scores.shape[1] - 1}."
        )
    return labels


def evaluate_metric(name: str, metric: Metric, outputs: Tensor, labels: Tensor) -> float | None:
    """Return the value of a metric, None if it is not finite. Raise InputError if it raises or returns no number."""
    try:
        value = float(metric(outputs.clone(), labels.clone()))  # it may write into them
    except Exception as error:  # a user's function may raise anything
        raise InputError(
            f"the metric {name!r} failed with {type(error).__name__}: {error}. It is called with outputs "
            f"{tuple(outputs.shape)} and labels {tuple(labels.shape)} of all images, and returns one number."
        ) from None
    return value if math.isfinite(value) else None
