"""The training loop: any method, one recipe, a checkpoint per epoch, and the same end after any interruption."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from aimc_robust.data.batches import check_data
from aimc_robust.data.in_memory import Images
from aimc_robust.data.streaming import StreamedImages
from aimc_robust.errors import InputError
from aimc_robust.io.atomic import Row, append_rows, read_rows
from aimc_robust.metrics import Batch
from aimc_robust.models.checkpoint import load_model_tensors, model_tensors
from aimc_robust.noise.analog_weights import weights_in_scope
from aimc_robust.training.config import TrainingConfig
from aimc_robust.training.epoch import divergence, score_key, train_epoch, validate
from aimc_robust.training.fabric import check_fabric, fabric_for
from aimc_robust.training.methods.ascent import global_norm
from aimc_robust.training.methods.base import Method
from aimc_robust.training.methods.distributed import share_buffers, world
from aimc_robust.training.resumption import (
    FINISHED,
    HISTORY,
    Kept,
    Progress,
    load_finished,
    load_history,
    load_progress,
    recipe_of,
    save_finished,
    save_progress,
)

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Probe = Callable[[nn.Module, Method, int], Row]
"""(model, method, update) -> more numbers of an epoch's row. It leaves the model and all generators as they were."""


@dataclass(frozen=True)
class Trained:
    """A finished training: the model with its selected weights, the epoch they come from, and a row per epoch.

    Where early stopping has several sigmas these are the weights of the first; `load_selection` gives the others.
    """

    model: nn.Module
    epoch: int
    history: list[Row]


def train(
    model: nn.Module,
    method: Method,
    config: TrainingConfig,
    *,
    training_set: Batch | Images | StreamedImages,
    validation_set: Batch,
    seed: int = 0,
    folder: Path | None = None,
    data_id: str = "",
    on_epoch: Callable[[Row], None] | None = None,
    probe: Probe | None = None,
    fabric: Fabric | None = None,
) -> Trained:
    """Train `model` in place and return it with the selected epoch's weights, in evaluation mode.

    training_set: `Images`, `StreamedImages`, or (inputs, labels), whole. validation_set: (inputs, labels), whole, or
        `LazyImages` for inputs.
    seed: order of images and randomness inside the model (dropout); the method draws from its own seed.
    folder: where checkpoint.safetensors and history.jsonl go. A finished training found there is loaded, an
        unfinished one goes on after its last epoch; either way the result is the undisturbed run's, bit for bit.
    data_id: what identifies the data; a checkpoint made from other data, recipe or model is refused.
    on_epoch: called with each new row: epoch, updates, lr, strength, train_loss, accuracy, loss,
        perturbed_accuracy (of the validation split, in percent), distance (sum over the epochs of the L2 distance that
        the weights moved, Incorruptible paper's Fig. 9), seconds; and what `probe` adds, with its probe_seconds.
    probe: looks at the model after each epoch (`analysis.Diagnostics`); the training is the same without it.
    fabric: a launched Fabric (`Machine.fabric`), for several processes; all of them call `train`, and the first one
        writes and calls back. None: this process, on the model's device.
    Raises DivergenceError when a loss is not finite, naming update, method and strength; CheckpointError for a
    checkpoint that does not belong; DataError for images and labels that do not fit together.
    """
    images = training_set if isinstance(training_set, Images | StreamedImages) else Images(*training_set)
    check_data("validation_set", validation_set)
    method = method.for_run(config.epochs * config.updates_per_epoch(len(images)))
    recipe = recipe_of(model, method, config, seed, data_id, images.augmentation)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / FINISHED).exists():
            epoch = load_finished(folder, model, recipe)
            return Trained(model.eval(), epoch, read_rows(folder / HISTORY))
    weights_in_scope(model, "all")  # raises for a model without parameters
    if config.channels_last and len(images.shape) != 3:
        raise InputError(
            f"channels_last takes images (N, C, H, W), got inputs of shape (N, *{images.shape}); leave it out."
        )
    fabric = fabric or fabric_for(next(model.parameters()).device, config.precision)
    check_fabric(fabric, config.precision, config.batch_size, parts=method.shard(*world())[2])
    images, validation = images.to(fabric.device), tuple(part.to(fabric.device) for part in validation_set)
    model.to(fabric.device)
    if config.channels_last:
        model.to(memory_format=torch.channels_last)
    optimizer = config.base_optimizer(model)
    progress, history = Progress(), []
    if folder is not None:
        progress = load_progress(folder, model, optimizer, recipe)
        history = load_history(folder, progress.epoch, mend=fabric.is_global_zero)
        fabric.barrier()  # nobody writes before all have read
    # Fabric's own wrapper would cast and convert again what autocast does here.
    running = fabric.setup_module(torch.compile(model) if config.compile else model)._forward_module
    while progress.epoch < config.epochs:
        began = time.perf_counter()
        epoch, start = progress.epoch + 1, [p.detach().clone() for p in model.parameters()]
        row = train_epoch(running, method, config, optimizer, images, seed=seed, epoch=epoch, autocast=fabric.autocast)
        travelled = history[-1].get("distance", 0.0) if history else 0.0
        row["distance"] = travelled + _distance(model, start)
        share_buffers(model, source=method.statistics_from)
        if fabric.is_global_zero:
            row |= validate(model, config.early_stopping, validation, seed)
            row["seconds"] = round(time.perf_counter() - began, 3)
            if math.isfinite(row["loss"]):
                row |= _probed(probe, model, method, row["updates"])
        row = fabric.broadcast(row)
        if not math.isfinite(row["loss"]):  # the last update of an epoch has no training loss after it
            raise divergence("the validation loss", row["updates"], epoch, method)
        progress.epoch = epoch
        _select(progress, row, config, model)
        history.append(row)
        if fabric.is_global_zero:
            if folder is not None:
                append_rows(folder / HISTORY, [row])
                save_progress(folder, model, optimizer, progress, recipe)
            if on_epoch is not None:
                on_epoch(row)
    load_model_tensors(model, progress.kept[0].tensors, source="this run")
    if folder is not None and fabric.is_global_zero:
        save_finished(folder, progress, recipe, config.selections)
    fabric.barrier()
    return Trained(model.eval(), progress.kept[0].epoch, history)


def _distance(model: nn.Module, start: list[Tensor]) -> float:
    return float(global_norm(torch._foreach_sub([p.detach() for p in model.parameters()], start)))


def _probed(probe: Probe | None, model: nn.Module, method: Method, step: int) -> Row:
    """What the probe says, and what it cost."""
    if probe is None:
        return {}
    began = time.perf_counter()
    found = probe(model, method, step)
    return {**found, "probe_seconds": round(time.perf_counter() - began, 3)}


def _select(progress: Progress, row: Row, config: TrainingConfig, model: nn.Module) -> None:
    """Keep this epoch's weights wherever they are to be kept: the best so far under a sigma, or the last."""
    tensors = None
    for i, sigma in enumerate(config.selections):
        score = row["perturbed_accuracy" if len(config.selections) == 1 else score_key(sigma)]
        if sigma is None or i == len(progress.kept) or score > progress.kept[i].score:
            tensors = tensors or model_tensors(model)  # shared by the selections that take this epoch
            progress.kept[i : i + 1] = [Kept(row["epoch"], -math.inf if score is None else score, tensors)]
