"""One epoch of training, and the metrics of the validation split after it."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from aimc_robust.data.batches import split_batches
from aimc_robust.data.lazy import LabelledImages, LazyImages, select_images
from aimc_robust.data.training_set import TrainingSet
from aimc_robust.errors import DivergenceError, InputError, exact_text
from aimc_robust.io.atomic import Row
from aimc_robust.noise.distributions import Gaussian
from aimc_robust.noise.perturbation import frozen_buffers, perturbed
from aimc_robust.seeding import Axes, global_seed
from aimc_robust.statistics.primary_metric import PrimaryMetric
from aimc_robust.tasks.distillation import Distillation
from aimc_robust.tasks.task import Task
from aimc_robust.tasks.task_loss import TaskLoss
from aimc_robust.training.config import EarlyStopping, TrainingConfig
from aimc_robust.training.methods.base import Method
from aimc_robust.training.methods.distributed import mean_over_workers, world

EVALUATION_BATCH_SIZE = 512
CHECKED_LABELS, MAX_SCORES = 512, 2**24  # at a time, before training starts

Autocast = Callable[[], AbstractContextManager[None]]


def loss_function(config: TrainingConfig, task: Task) -> TaskLoss:
    """Return the task's loss with label smoothing."""
    return TaskLoss(task, config.label_smoothing)


def training_loss(config: TrainingConfig, task: Task) -> TaskLoss | Distillation:
    """Return what an update minimizes: `loss_function`, or a distillation with it."""
    if config.distillation is None:
        return loss_function(config, task)
    return replace(config.distillation, task=task, label_smoothing=config.label_smoothing)


def train_epoch(
    model: nn.Module,
    method: Method,
    config: TrainingConfig,
    optimizer: torch.optim.Optimizer,
    images: TrainingSet,
    task: Task,
    *,
    train_seed: int,
    epoch: int,
    autocast: Autocast,
) -> Row:
    """Train for one pass over the images.

    Every random number derives from (train_seed, epoch), so resuming needs no generator state. The epoch counts from 1.

    Returns:
        Row with epoch, updates, lr, strength and train_loss (mean over updates and workers).

    Raises:
        DivergenceError: If a loss is not finite, on all workers alike.
    """
    updates = config.updates_per_epoch(len(images))
    streams, shard, num_shards = method.shard(*world())
    part = {"batch_size": config.batch_size, "seed": train_seed, "shard": shard, "num_shards": num_shards}
    batches_of_streams = [images.epoch(epoch, stream=stream, **part) for stream in streams]
    loss_fn = training_loss(config, task)
    losses: list[Tensor] = []
    model.train()
    with seeded(Axes(train_seed).at(use="model", epoch=epoch), images.device):
        for step, batches in enumerate(zip(*batches_of_streams, strict=True), start=(epoch - 1) * updates + 1):
            lr = config.learning_rate(step, updates)
            for group in optimizer.param_groups:
                group["lr"] = lr
            optimizer.zero_grad()
            if config.channels_last:
                batches = tuple((x.contiguous(memory_format=torch.channels_last), labels) for x, labels in batches)
            try:
                with autocast():
                    losses.append(method.backward(model, loss_fn, batches, step=step))
            except InputError:  # for example, a crossbar that rejects weights which an earlier update made NaN
                kinds = {"a weight": model.parameters(), "a BatchNorm statistic": model.buffers()}
                broken = (kind for kind, values in kinds.items() if not all(x.isfinite().all() for x in values))
                if (first := next(broken, None)) is None:
                    raise
                raise divergence_error(first, step, epoch, method) from None
            if config.clip_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
            optimizer.step()
            if config.weight_clipping is not None:
                config.weight_clipping.apply(model, method=method)
    all_losses = torch.stack(losses)
    mean_losses = mean_over_workers([all_losses], [all_losses])[0]
    assert mean_losses is not None
    if not torch.isfinite(mean_losses).all():
        # Checked once per epoch: a check after every update would synchronize with the GPU each time.
        step = (epoch - 1) * updates + int((~torch.isfinite(mean_losses)).nonzero()[0]) + 1
        raise divergence_error("the loss", step, epoch, method)
    return {
        "epoch": epoch,
        "updates": step,
        "lr": lr,
        "strength": method.strength(step),
        "train_loss": float(mean_losses.mean()),
    }


@contextmanager
def seeded(axes: Axes, device: torch.device) -> Iterator[None]:
    """Seed the global generators (used by dropout) from `axes`; restore their state on exit."""
    rank, _ = world()
    axes = axes.at(worker=rank) if rank else axes
    with global_seed(axes.seed(), device):
        yield


def check_first_images(
    model: nn.Module, images: TrainingSet, validation: LabelledImages, task: Task, train_seed: int
) -> None:
    """Raise InputError or DataError if the model does not take the images, or has no output for a label."""
    first = next(images.epoch(1, batch_size=1))[0], select_images(validation[0], torch.arange(1))
    for name, inputs, labels in zip(("training", "validation"), first, (images.labels, validation[1]), strict=True):
        inputs = inputs[:] if isinstance(inputs, LazyImages) else inputs
        try:
            with seeded(Axes(train_seed), labels.device), frozen_buffers(model), torch.no_grad():
                outputs = task.predict(model.eval(), inputs)
        except InputError as error:
            raise InputError(f"{name} data: {error}") from error
        task.align(outputs, labels[:1])
        scores = labels[0].numel() * max(outputs.shape[1:2], default=1)
        for part in labels.split(min(CHECKED_LABELS, max(1, MAX_SCORES // max(scores, 1)))):
            task.check(*task.align(outputs.expand(len(part), *outputs.shape[1:]), part))


def divergence_error(quantity: str, step: int, epoch: int, method: Method) -> DivergenceError:
    """Return the error for a `quantity` that is not finite at update `step`, with the method and its strength."""
    strength = method.strength(step)
    at, remedy = (
        ("", "") if strength is None else (f" at strength {strength:g}", " or the strength, or lengthen the ramp")
    )
    return DivergenceError(
        f"{quantity} is not finite at update {step} (epoch {epoch}) of {type(method).__name__}{at}; lower lr{remedy}."
    )


def validate(
    model: nn.Module, stopping: EarlyStopping | None, data: LabelledImages, task: Task, train_seed: int
) -> Row:
    """Measure the validation split, clean and under the noise of early stopping; leave evaluation mode on.

    Returns:
        Row with the task's metric, such as accuracy, with loss, and with the metric under noise, perturbed_accuracy.
            For several sigmas there is one `perturbed_accuracy_SIGMA` each, and `perturbed_accuracy` is that of the
            largest.
    """
    model.eval()
    metric, batches = task.primary, split_batches(data, min(task.batch_size, EVALUATION_BATCH_SIZE))
    perturbed_column = f"perturbed_{metric.name}"
    try:
        clean = task.measure(model, batches)
    except DivergenceError:  # the training loop raises it on all workers
        return {metric.name: None, "loss": math.nan, perturbed_column: None}
    row: Row = {metric.name: clean.value, "loss": clean.loss, perturbed_column: None}
    if stopping is None:
        return row
    scores: dict[float, float | None] = {}
    for sigma in stopping.sigmas:
        values = []
        for draw in range(stopping.draws if sigma or len(stopping.sigmas) == 1 else 0):
            axes = Axes(train_seed).at(use="validation", chip=draw)
            with perturbed(model, Gaussian(sigma, stopping.scale), generator=axes):
                try:
                    values.append(task.measure(model, batches).value)
                except DivergenceError:  # of the perturbed weights alone: no image is right
                    values.append(metric.worst_value)
        mean = sum(values) / len(values) if values else clean.value
        scores[sigma] = mean if math.isfinite(mean) else None
    row[perturbed_column] = scores[max(scores)]
    return row if len(scores) == 1 else row | {score_column(metric, sigma): score for sigma, score in scores.items()}


def score_column(metric: PrimaryMetric, sigma: float) -> str:
    """Return the history column with the metric that selects the epoch for `sigma`, one of several."""
    return f"perturbed_{metric.name}_{exact_text(sigma)}"
