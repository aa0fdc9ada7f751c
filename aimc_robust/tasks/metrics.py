"""Named metrics of all outputs and labels, beside those of a task."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor

from aimc_robust.errors import InputError, short_repr, unknown_name
from aimc_robust.io.user_code import import_callable, is_reference

Metric = Callable[[Tensor, Tensor], Any]
"""(outputs (N, classes), labels (N,)) of all images -> one number. It need not be a mean over images."""
Metrics = Mapping[str, Metric] | Sequence[str] | None
"""Column -> metric, or the names of metrics, see `metric_columns`."""

RESERVED = {
    "model", "train_seed", "target", "backend", "sigma", "time_s", "chip", "accuracy", "loss", "n",
    "forward_precision",
    "mean", "ci_low", "ci_high", "covers", "half_width", "skewness", "skewed_low", "skewed_high", "sd_noise", "sd_seed",
    "var_noise", "var_noise_low", "var_noise_high", "var_seed", "var_chip", "reached_by_95", "median", "worst",
    "worst_train_seed", "worst_chip", "sampling", "chips", "models", "yield", "yield_low", "yield_high",
    "epoch", "updates", "lr", "strength", "train_loss", "distance", "seconds", "probe_seconds",
}  # fmt: skip
"""Other columns of the rows, of summary.csv and of histories: no metric may use their names."""


def require_free_columns(names: Iterable[str], what: str) -> None:
    """Raise InputError if the name of a metric is that of another column; `accuracy` is free."""
    for name in names:
        if name in RESERVED and name != "accuracy":
            raise InputError(f"{what}: {name!r} is the name of another column of the results; rename it.")


def top5(outputs: Tensor, labels: Tensor) -> Tensor:
    """Images whose label is among the five highest scores [percent]."""
    if outputs.shape[1] <= 5:
        raise InputError(f"top5 needs more than five classes, got {outputs.shape[1]}")
    return 100.0 * (outputs.topk(5, dim=1).indices == labels[:, None]).any(dim=1).double().mean()


METRICS: dict[str, Metric] = {"top5": top5}
"""Name -> metric. Specs and commands know it by this name, and those of the user's own as `package.module:function`."""


def as_metrics(metrics: Metrics) -> Mapping[str, Metric]:
    """Return column -> metric. Raise `InputError` if a metric is not a function or has a reserved name."""
    if isinstance(metrics, list | tuple) and all(isinstance(name, str) for name in metrics):
        return load_metrics(metrics)
    if not isinstance(metrics, Mapping | None):
        raise InputError(
            f"metrics must be a dict of name and function, such as {{'recall': recall}}, or a list of names; got "
            f"{short_repr(metrics)}."
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


def evaluate_metric(name: str, metric: Metric, outputs: Tensor, labels: Tensor) -> float | None:
    """Return the value of a metric, None if it is not finite. Raise InputError if it raises or returns no number."""
    try:
        value = float(metric(outputs.clone(), labels.clone()))  # it may write into them
    except Exception as error:  # a user's function may raise anything
        raise InputError(
            f"the metric {name!r} failed with {type(error).__name__}: {error}. It is called with outputs "
            f"{tuple(outputs.shape)} and labels {tuple(labels.shape)} of all examples, and returns one number."
        ) from None
    return value if math.isfinite(value) else None
