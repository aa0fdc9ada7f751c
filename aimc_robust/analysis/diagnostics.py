"""Training diagnostics of the Incorruptible paper's figures, measured after each epoch: a probe for `train`.

The probe adds these columns to each row of history.jsonl (None: not finite, or not defined for the method):

- train_accuracy@S, train_loss@S, test_accuracy@S, test_loss@S (of another task, its primary metric in place of
  accuracy): on fixed training or test images, at weights with Gaussian noise of sigma S; @0 is at the clean weights
  (Figs. 3, 10, 11, 16)
- train_sharpness@S, test_sharpness@S: average direction, loss@S - loss@0 (Eq. 2, Figs. 10, 11)
- train_ascent_sharpness, test_ascent_sharpness: ascent direction with radius rho, the same for all methods (Eq. 1,
  Fig. 15b)
- gradient_norm: L2 norm of an update's gradient (Fig. 4a)
- gradient_sharpness: loss at the method's own perturbed weights - loss at the clean weights (Figs. 4b, 15a)
- gradient_cosine: cosine of the angle between the gradients at perturbed and clean weights (Fig. 6)
- full_strength_loss: loss at the method's own perturbed weights at full strength, as if its ramp had ended (Fig. 16)

Every loss is the training loss with label smoothing, on test images too, so that train and test are comparable. The
first three groups are measured in evaluation mode; the last four in training mode, as in an update, and on training
images. Images are not augmented. Accuracies are in percent. For a method with `faults` all weights are those that the
chip with these stuck devices represents, as in training and validation.

Example:
    ```python
    train(..., probe=Diagnostics(DiagnosticsConfig(), training=..., test=..., loss_fn=...))
    ```
"""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import get_args

import torch
from torch import nn

from aimc_robust.analysis.sharpness import ascent_sharpness
from aimc_robust.analysis.update_gradients import measure_updates
from aimc_robust.data.batches import as_labelled, split_batches
from aimc_robust.data.lazy import LabelledImages, LazyImages, select_images, to_device
from aimc_robust.errors import InputError, names_arguments, require_finite, require_known, require_whole
from aimc_robust.float32_convolutions import float32_convolutions
from aimc_robust.io.atomic import Row
from aimc_robust.noise.analog_weights import ScopeName, unwrap_model
from aimc_robust.noise.distributions import Gaussian
from aimc_robust.noise.perturbation import evaluation_mode, frozen_buffers, perturbed
from aimc_robust.noise.scales import NoiseScale, check_scale
from aimc_robust.seeding import Axes
from aimc_robust.tasks.batches import Batch
from aimc_robust.tasks.distillation import Distillation
from aimc_robust.tasks.registry import TaskLike, as_task
from aimc_robust.tasks.task import Task
from aimc_robust.training.epoch import seeded
from aimc_robust.training.methods.base import Method
from aimc_robust.training.methods.gradient_passes import LossFunction
from aimc_robust.training.methods.range_state import range_state, set_range_state

SPLITS = ("train", "test")


@names_arguments
@dataclass(frozen=True, kw_only=True)
class DiagnosticsConfig:
    """Settings of the diagnostics.

    Args:
        sigmas: Strengths of Gaussian weight noise (`noise.Gaussian`), each above 0; the defaults are those of Figs. 3,
            10 and 11.
        scale: Scale of the noise.
        draws: Noise draws that are averaged, the same ones at every sigma and epoch, so that curves are smooth.
        rho: Radius of the ascent direction, in the units of the weights; the same for all methods, so that they are
            comparable (`gradient_sharpness` uses each method's own).
        scope: Parameters along whose gradient the ascent direction is: `weights` or `all`, as in Eq. 1 of the paper.
        images: Images of each split, the same ones in every epoch; all of a smaller split.
        batch_size: Batch size of ascent sharpness (its m) and of the gradients, which drop a last partial batch.
        seed: Root seed of the draws and of the choice of images.

    Raises:
        InputError: If a value is invalid.
        UnknownNameError: If the scale is unknown.
    """

    sigmas: tuple[float, ...] = (0.02, 0.05, 0.07)
    scale: NoiseScale = "filter_max"
    draws: int = 3
    rho: float = 0.05
    scope: ScopeName = "weights"
    images: int = 512
    batch_size: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.sigmas, list | tuple):
            raise InputError(f"sigmas must be a list of numbers such as [0.02, 0.07], got {self.sigmas!r}.")
        for sigma in self.sigmas:
            require_finite("each of sigmas", sigma)
        object.__setattr__(self, "sigmas", tuple(self.sigmas))
        names = [f"{sigma:g}" for sigma in (0, *self.sigmas)]
        repeated = [name for name in names if names.count(name) > 1]
        if repeated:
            raise InputError(f"sigmas holds {repeated[0]} twice (0, the clean weights, is always included).")
        check_scale(self.scale)
        require_finite("rho", self.rho)
        require_known("scope", self.scope, get_args(ScopeName))
        for name in ("draws", "images", "batch_size"):
            require_whole(name, getattr(self, name), low=1)
        require_whole("seed", self.seed, low=0)


class Diagnostics:
    """A probe for `train`: called with (model, method, number of the last update), it returns the columns above.

    It leaves weights, buffers, gradients, modes and global generators unchanged bit for bit, runs on one process, and
    uses the weights' precision.

    Args:
        config: Settings.
        training: (inputs, labels) of the training split as the model takes them, without augmentation.
        test: (inputs, labels) of the test split.
        loss_fn: Loss of the training.
        task: Task of the training; None: classification.

    Raises:
        DataError: If images and labels do not match.
    """

    def __init__(
        self,
        config: DiagnosticsConfig,
        *,
        training: LabelledImages,
        test: LabelledImages,
        loss_fn: LossFunction,
        task: TaskLike = None,
    ) -> None:
        self.config, self.loss_fn, self.task = config, loss_fn, as_task(task)
        self.axes = Axes(config.seed).at(use="diagnostics")
        self.data = {split: self._subset(split, data) for split, data in zip(SPLITS, (training, test), strict=True)}

    @float32_convolutions()
    def __call__(self, model: nn.Module, method: Method, step: int) -> Row:
        """Measure the model after update `step`; return the columns of the module's docstring."""
        model = unwrap_model(model)
        device = next(model.parameters()).device
        batches = {
            split: split_batches((to_device(inputs, device), labels.to(device)), self.config.batch_size)
            for split, (inputs, labels) in self.data.items()
        }
        full_batches = {split: [b for b in group if len(b[1]) == len(group[0][1])] for split, group in batches.items()}
        with _restored_state(model), seeded(self.axes, device):
            with method.with_faults(model):
                row = self._at_sigmas(model, batches)
                for split in SPLITS:
                    row[f"{split}_ascent_sharpness"] = ascent_sharpness(
                        model, self.loss_fn, full_batches[split], rho=self.config.rho, scope=self.config.scope
                    )
            model.train()
            row |= measure_updates(model, method, self.loss_fn, full_batches["train"], step=step, axes=self.axes)
        return {key: value if value is not None and math.isfinite(value) else None for key, value in row.items()}

    def _subset(self, split: str, data: LabelledImages) -> Batch:
        """Return the config's number of random images of a split."""
        data = as_labelled(f"the {split} images of diagnostics", data, self.task)
        order = torch.randperm(len(data[1]), generator=self.axes.at(split=split).generator())
        indices = order[: self.config.images].to(data[1].device)
        inputs = select_images(data[0], indices)
        return inputs[:] if isinstance(inputs, LazyImages) else inputs, data[1][indices]

    def _at_sigmas(self, model: nn.Module, batches: dict[str, list[Batch]]) -> Row:
        """Measure the primary metric, loss and average-direction sharpness at each sigma."""
        row: Row = {}
        for sigma in (0.0, *self.config.sigmas):
            draws = range(self.config.draws if sigma else 1)
            metric = self.task.primary.name
            sums = dict.fromkeys([(split, key) for split in SPLITS for key in (metric, "loss")], 0.0)
            for draw in draws:
                # The draw does not depend on sigma: one direction, scaled.
                with perturbed(model, Gaussian(sigma, self.config.scale), generator=self.axes.at(draw=draw)):
                    for split in SPLITS:
                        value, loss = _measure(model, self.task, self.loss_fn, batches[split])
                        sums[split, metric] += value
                        sums[split, "loss"] += loss
            row |= {f"{split}_{key}@{sigma:g}": total / len(draws) for (split, key), total in sums.items()}
            if sigma:
                for split in SPLITS:
                    row[f"{split}_sharpness@{sigma:g}"] = row[f"{split}_loss@{sigma:g}"] - row[f"{split}_loss@0"]
        return row


@torch.no_grad()
def _measure(model: nn.Module, task: Task, loss_fn: LossFunction, batches: list[Batch]) -> tuple[float, float]:
    """Return (primary metric, mean loss) over all images; outputs that are NaN are never right."""
    scores, own_loss, loss, items = task.accumulators(), 0.0, 0.0, 0
    for batch in batches:
        outputs, labels = task.run(model, batch)
        count = task.count(labels)
        batch_loss = task.loss(outputs, labels)
        own_loss += float(batch_loss) * count
        if isinstance(loss_fn, Distillation):
            batch_loss = loss_fn.loss(model, batch)
        elif not isinstance(loss_fn, Task):
            batch_loss = loss_fn(outputs, labels)
        loss += float(batch_loss) * count
        items += count
        for score in scores.values():
            score.update(outputs, labels)
    name = task.primary.name
    value = scores[name].compute() if name in scores else task.metrics_of_loss(own_loss / items)[name]
    return float(value), loss / items


@contextmanager
def _restored_state(model: nn.Module) -> Iterator[None]:
    """Clear gradients, set evaluation mode; restore buffers, gradients, learned ranges and modes on exit."""
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    ranges = range_state(model)
    set_range_state(model, copy.deepcopy(ranges))
    for parameter, _ in gradients:
        parameter.grad = None
    try:
        with frozen_buffers(model), evaluation_mode(model):
            yield
    finally:
        set_range_state(model, ranges)
        for parameter, gradient in gradients:
            parameter.grad = gradient
