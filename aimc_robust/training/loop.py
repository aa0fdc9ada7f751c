"""The training loop: any method, one recipe, a checkpoint per epoch, and the same end after any interruption."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from aimc_robust.errors import DivergenceError
from aimc_robust.files import Row, append_rows, read_rows
from aimc_robust.metrics import Batch, batches_of, check_data, measure
from aimc_robust.noise.gaussian import Gaussian
from aimc_robust.noise.perturb import perturbed
from aimc_robust.seeding import Axes
from aimc_robust.training.checkpoint import load_model_tensors, model_tensors
from aimc_robust.training.config import EarlyStopping, TrainingConfig
from aimc_robust.training.images import Images
from aimc_robust.training.method import Method
from aimc_robust.training.resume import (
    FINISHED,
    HISTORY,
    Progress,
    load_finished,
    load_history,
    load_progress,
    recipe_of,
    save_finished,
    save_progress,
)

EVALUATION_BATCH = 512


@dataclass(frozen=True)
class Trained:
    """A finished training: the model with its selected weights, the epoch they come from, and a row per epoch."""

    model: nn.Module
    epoch: int
    history: list[Row]


def train(
    model: nn.Module,
    method: Method,
    config: TrainingConfig,
    *,
    training_set: Batch | Images,
    validation_set: Batch,
    seed: int = 0,
    folder: Path | None = None,
    data_id: str = "",
    on_epoch: Callable[[Row], None] | None = None,
) -> Trained:
    """Train `model` in place and return it with the selected epoch's weights, in evaluation mode.

    training_set: `Images`, or (inputs, labels), whole, on the model's device. validation_set: (inputs, labels) there.
    seed: order of images and randomness inside the model (dropout); the method draws from its own seed.
    folder: where checkpoint.safetensors and history.jsonl go. A finished training found there is loaded, an
        unfinished one goes on after its last epoch; either way the result is the undisturbed run's, bit for bit.
    data_id: what identifies the data; a checkpoint made from other data, recipe or model is refused.
    on_epoch: called with each new row: epoch, updates, lr, strength, train_loss, accuracy, loss,
        perturbed_accuracy, seconds (accuracies of the validation split in percent).
    Raises DivergenceError when a loss is not finite, naming update, method and strength; CheckpointError for a
    checkpoint that does not belong; DataError for images and labels that do not fit together.
    """
    images = training_set if isinstance(training_set, Images) else Images(*training_set)
    check_data("validation_set", validation_set)
    method = method.for_run(config.epochs * config.updates_per_epoch(len(images)))
    recipe = recipe_of(model, method, config, seed, data_id, images.augmentation)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / FINISHED).exists():
            epoch = load_finished(folder, model, recipe)
            return Trained(model.eval(), epoch, read_rows(folder / HISTORY))
    if config.channels_last:
        model.to(memory_format=torch.channels_last)
    optimizer = config.base_optimizer(model)
    progress, history = Progress(), []
    if folder is not None:
        progress = load_progress(folder, model, optimizer, recipe)
        history = load_history(folder, progress.epoch)
    while progress.epoch < config.epochs:
        began = time.perf_counter()
        row = _train_epoch(model, method, config, optimizer, images, seed, progress.epoch + 1)
        row |= _validate(model, config.early_stopping, validation_set, seed)
        if not math.isfinite(row["loss"]):  # the last update of an epoch has no training loss after it
            raise _divergence("the validation loss", row["updates"], row["epoch"], method)
        row["seconds"] = round(time.perf_counter() - began, 3)
        progress.epoch += 1
        _select(progress, row, config, model)
        history.append(row)
        if folder is not None:
            append_rows(folder / HISTORY, [row])
            save_progress(folder, model, optimizer, progress, recipe)
        if on_epoch is not None:
            on_epoch(row)
    load_model_tensors(model, progress.best, source="this run")
    if folder is not None:
        save_finished(folder, progress, recipe)
    return Trained(model.eval(), progress.best_epoch, history)


def _train_epoch(
    model: nn.Module,
    method: Method,
    config: TrainingConfig,
    optimizer: torch.optim.Optimizer,
    data: Images,
    seed: int,
    epoch: int,
) -> Row:
    """One epoch. Every random number derives from (seed, epoch), so that a resume needs no generator state."""
    updates = config.updates_per_epoch(len(data))
    streams = [
        data.epoch(epoch, batch_size=config.batch_size, seed=seed, stream=stream)
        for stream in range(method.batches_per_update)
    ]
    loss_fn = nn.CrossEntropyLoss(label_smoothing=config.label_smoothing)
    losses = []
    model.train()
    with torch.random.fork_rng(devices=[data.device] if data.device.type == "cuda" else []):
        torch.manual_seed(Axes(seed).at(use="model", epoch=epoch).seed())
        for step, batches in enumerate(zip(*streams, strict=True), start=(epoch - 1) * updates + 1):
            if config.channels_last:
                batches = [(inputs.contiguous(memory_format=torch.channels_last), labels) for inputs, labels in batches]
            lr = config.learning_rate(step, updates)
            for group in optimizer.param_groups:
                group["lr"] = lr
            optimizer.zero_grad()
            with torch.autocast(data.device.type, torch.bfloat16, enabled=config.precision == "bf16-mixed"):
                losses.append(method.backward(model, loss_fn, batches, step=step))
            if config.clip_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
            optimizer.step()
    all_losses = torch.stack(losses)
    if not torch.isfinite(all_losses).all():
        # Looked at once an epoch: a look at every update would make a GPU wait each time.
        step = (epoch - 1) * updates + int((~torch.isfinite(all_losses)).nonzero()[0]) + 1
        raise _divergence("the loss", step, epoch, method)
    return {
        "epoch": epoch,
        "updates": step,
        "lr": lr,
        "strength": method.strength(step),
        "train_loss": float(all_losses.mean()),
    }


def _divergence(what: str, step: int, epoch: int, method: Method) -> DivergenceError:
    strength = method.strength(step)
    at, mend = (
        ("", "") if strength is None else (f" at strength {strength:g}", " or the strength, or lengthen the ramp")
    )
    return DivergenceError(
        f"{what} is not finite at update {step} (epoch {epoch}) of {type(method).__name__}{at}; lower lr{mend}."
    )


def _validate(model: nn.Module, stopping: EarlyStopping | None, data: Batch, seed: int) -> Row:
    """Accuracy on the validation split, clean and under the noise that early stopping selects on."""
    model.eval()
    batches = batches_of(data, EVALUATION_BATCH)
    clean = measure(model, batches)
    noisy = None
    if stopping is not None:
        scores = []
        for draw in range(stopping.draws):
            axes = Axes(seed).at(use="validation", chip=draw)
            with perturbed(model, Gaussian(stopping.sigma, stopping.scale), generator=axes):
                scores.append(measure(model, batches).accuracy)
        noisy = sum(scores) / len(scores)
    return {"accuracy": clean.accuracy, "loss": clean.loss, "perturbed_accuracy": noisy}


def _select(progress: Progress, row: Row, config: TrainingConfig, model: nn.Module) -> None:
    """Keep this epoch's weights if they are to be kept: the best so far, or the last."""
    score = row["perturbed_accuracy"]
    if config.early_stopping is None or score > progress.best_score:
        progress.best_epoch, progress.best = row["epoch"], model_tensors(model)
        progress.best_score = -math.inf if score is None else score
