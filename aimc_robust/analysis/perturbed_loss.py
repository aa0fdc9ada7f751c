"""Mean loss of a model at randomly perturbed weights, E[L(w + eps)], one value per draw of eps."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aimc_robust.data.batches import Batches, as_reiterable
from aimc_robust.errors import DataError, DivergenceError, InputError, require_known
from aimc_robust.noise.analog_weights import Scope, unwrap_model
from aimc_robust.noise.base import WeightNoise
from aimc_robust.noise.distributions import Gaussian
from aimc_robust.noise.perturbation import evaluation_mode, frozen_buffers, perturbed
from aimc_robust.noise.scales import NoiseScale
from aimc_robust.seeding import Axes
from aimc_robust.tasks.batches import Batch, examples_in, unpack
from aimc_robust.tasks.calling import call_model, main_output

ExampleLoss = Callable[[Any, Any], Tensor]
"""Function (outputs, labels) -> one loss per example, shape (examples,)."""

LossName = Literal["error", "cross-entropy"]
"""`error`: 1 for a wrong prediction, else 0. `cross-entropy`: in nats, without label smoothing."""


def example_loss(loss: LossName | ExampleLoss) -> ExampleLoss:
    """Return the function of a named loss, or the function itself."""
    if callable(loss):
        return loss
    require_known("loss", loss, get_args(LossName))
    return _error if loss == "error" else _cross_entropy


def perturbed_losses(
    model: nn.Module,
    batches: Batches,
    sigmas: Iterable[float],
    loss: ExampleLoss,
    *,
    scale: NoiseScale = "absolute",
    scope: Scope = "all",
    draws: int,
    seed: int,
) -> tuple[np.ndarray, int]:
    """Return the mean loss over all examples at each sigma and draw, shape (sigmas, draws), and the examples' number.

    Evaluation mode. The value of a draw is the mean of the losses at w + eps and w - eps, which have the same
    distribution: the gradient's part, by far the largest at small sigma, cancels. Draw j has the same standard normal
    numbers at every sigma, so that differences between sigmas are paired. The model is unchanged afterwards.

    Raises:
        DataError: If there is no example, or labels do not suit the loss.
        DivergenceError: If a mean loss is not finite.
        InputError: If an argument is invalid.
    """
    batches, axes = as_reiterable(batches), Axes(seed).at(use="perturbed-loss")
    rows, examples = [], 0
    with frozen_buffers(model), evaluation_mode(model), torch.no_grad():
        for sigma in sigmas:
            noise, row = Gaussian(sigma, scale), []
            for draw in range(draws if sigma else 1):
                pair = []
                for signed in (noise, _Opposite(noise)) if sigma else (noise,):
                    with perturbed(model, signed, generator=axes.at(draw=draw), scope=scope):
                        mean, examples = _mean_loss(model, batches, loss)
                    if not np.isfinite(mean):
                        raise DivergenceError(f"the loss at sigma {sigma:g} is not finite; use a smaller sigma.")
                    pair.append(mean)
                row.append(sum(pair) / len(pair))
            rows.append(row if sigma else row * draws)
    return np.array(rows), examples


@dataclass(frozen=True)
class _Opposite(WeightNoise):
    """w - eps in place of the noise's w + eps."""

    noise: Gaussian

    accepts_axes: ClassVar[bool] = True

    def perturb(self, name: str, weight: Tensor, generator: torch.Generator | Axes) -> Tensor:
        return torch.lerp(weight, self.noise.perturb(name, weight, generator), -1.0)


def _mean_loss(model: nn.Module, batches: Iterable[Batch], loss: ExampleLoss) -> tuple[float, int]:
    total, examples = 0.0, 0
    for batch in batches:
        inputs, labels = unpack(batch)
        outputs = main_output(call_model(unwrap_model(model), inputs))
        values, count = loss(outputs, labels), examples_in(labels)
        if not isinstance(values, Tensor) or values.shape != (count,):
            got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise InputError(f"the loss must return one value for each of {count} examples, got {got}.")
        total += float(values.sum(dtype=torch.float64))
        examples += count
    if not examples:
        raise DataError("expected at least one batch of images and labels, got none.")
    return total / examples, examples


def _error(outputs: Tensor, labels: Tensor) -> Tensor:
    _check_classes(outputs, labels)
    is_wrong = (outputs.argmax(dim=1) != labels) | ~outputs.isfinite().all(dim=1)  # NaN is never right
    return is_wrong.to(torch.float64)


def _cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    _check_classes(outputs, labels)
    return F.cross_entropy(outputs, labels, reduction="none")


def _check_classes(outputs: Tensor, labels: Tensor) -> None:
    if outputs.ndim != 2 or labels.shape != outputs.shape[:1] or labels.is_floating_point():
        raise DataError(
            "a named loss needs outputs (examples, classes) and whole labels (examples,), got outputs "
            f"{tuple(outputs.shape)} and labels {tuple(labels.shape)} ({labels.dtype}); give a function of "
            "(outputs, labels) as loss."
        )
    if int(labels.min()) < 0 or int(labels.max()) >= outputs.shape[1]:
        raise DataError(
            f"expected labels from 0 to {outputs.shape[1] - 1}, got {int(labels.min())} to {int(labels.max())}."
        )
