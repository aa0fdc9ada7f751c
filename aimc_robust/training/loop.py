"""The training loop: any method, one set of settings, a checkpoint per epoch, bit-identical results after a resume."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from aimc_robust.data.batches import as_labelled
from aimc_robust.data.examples import as_training_set
from aimc_robust.data.lazy import LabelledImages, to_device
from aimc_robust.data.training_set import TrainingSet
from aimc_robust.errors import InputError, require_type, require_whole
from aimc_robust.hardware.config.ranges import ConverterRanges
from aimc_robust.io.atomic import Row, append_rows
from aimc_robust.models.checkpoint import tensor_digest
from aimc_robust.noise.analog_weights import weights_in_scope
from aimc_robust.tasks.batches import Batch
from aimc_robust.tasks.registry import TaskLike, as_task
from aimc_robust.tasks.task import Task
from aimc_robust.training.config import TrainingConfig
from aimc_robust.training.epoch import check_first_images, divergence_error, train_epoch, validate
from aimc_robust.training.epoch_selection import select_epochs
from aimc_robust.training.fabric import check_fabric, single_device_fabric
from aimc_robust.training.methods.base import Method
from aimc_robust.training.methods.distributed import share_buffers, share_text, world
from aimc_robust.training.methods.range_state import ranges_of
from aimc_robust.training.methods.sam import global_norm
from aimc_robust.training.recipe import recipe_fingerprint
from aimc_robust.training.resumption import (
    FINISHED,
    HISTORY,
    Origin,
    Progress,
    load_finished,
    load_progress,
    read_history,
    restore_history,
    save_finished,
    save_progress,
)
from aimc_robust.training.teacher import with_teacher

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Probe = Callable[[nn.Module, Method, int], Row]
"""(model, method, update) -> further columns of an epoch's row. It must not change the model or any generator."""


@dataclass(frozen=True)
class TrainingResult:
    """Result of `train`.

    Attributes:
        model: The model with the selected weights, in evaluation mode. For early stopping with several sigmas these are
            the weights of the first; `load_selection` loads the others.
        epoch: Epoch that the weights come from.
        history: One row per epoch.
    """

    model: nn.Module
    epoch: int
    history: list[Row]

    @property
    def ranges(self) -> ConverterRanges | None:
        """Converter ranges that were learned with the weights, for `Deployment(ranges=...)`; None: none were."""
        return ranges_of(self.model)


def train(
    model: nn.Module,
    method: Method,
    config: TrainingConfig,
    *,
    training_set: Batch | TrainingSet,
    validation_set: LabelledImages | TrainingSet,
    task: TaskLike = None,
    train_seed: int = 0,
    folder: Path | None = None,
    data_id: str = "",
    on_epoch: Callable[[Row], None] | None = None,
    probe: Probe | None = None,
    fabric: Fabric | None = None,
) -> TrainingResult:
    """Train `model` in place and load the weights of the selected epoch.

    Args:
        model: Model to train.
        method: Training method.
        config: Training settings.
        training_set: All training data, as `Images`, `StreamedImages` or (inputs, labels).
        validation_set: All validation data, as (inputs, labels), where the inputs may be `LazyImages`, or as `Images`
            or `StreamedImages`, whose augmentation is left out.
        task: What the model is trained for: a Task or its name, such as `regression`; None is `classification`.
        train_seed: Root seed of the image order and of random numbers inside the model (dropout). The method draws from
            its own seed.
        folder: Folder for checkpoint.safetensors and history.jsonl. A finished training in it is loaded, an unfinished
            one is resumed after its last epoch. The result equals that of an uninterrupted run bit for bit.
        data_id: Identifier of the data. A checkpoint of other data, settings or model is rejected.
        on_epoch: Called with each new row: epoch, updates, lr, strength, train_loss; accuracy (or the primary metric of
            another task), loss and perturbed_accuracy of the validation split; distance (sum over the epochs of the L2
            distance that the weights moved, Incorruptible paper, Fig. 9); seconds; and the columns of `probe` with
            probe_seconds.
        probe: Measures the model after each epoch (`analysis.Diagnostics`) without changing the training.
        fabric: A launched Fabric (`Machine.fabric`) for several processes. All of them call `train`; the first one
            writes files and calls `on_epoch`. None uses this process and the model's device.

    Returns:
        The trained model, the epoch of its weights, and the history.

    Raises:
        DivergenceError: If a loss is not finite; the message names update, method and strength.
        CheckpointError: If a checkpoint in `folder` belongs to another training, or one from other initial weights.
        DataError: If images and labels do not match.
        InputError: If the settings do not match the data or the Fabric.
    """
    for name, value, kind, example in (
        ("model", model, nn.Module, "a torch.nn.Module"),
        ("method", method, Method, "a Method such as SAM(rho=0.05)"),
        ("config", config, TrainingConfig, "a TrainingConfig"),
        ("folder", folder, Path | None, "a pathlib.Path or None"),
        ("data_id", data_id, str, "text"),
        ("on_epoch", on_epoch, Callable | None, "a function or None"),
        ("probe", probe, Callable | None, "a function or None"),
    ):
        require_type(name, value, kind, example=example)
    require_whole("train_seed", train_seed, low=0)
    weights_in_scope(model, "all")  # raises for a model without parameters, or whose weights are out of reach
    task = as_task(task)
    images = as_training_set(training_set, task)
    inputs, labels = as_labelled("validation_set", validation_set, task)
    method = method.for_run(config.epochs * config.updates_per_epoch(len(images)))
    config, teacher_id = with_teacher(config, model)
    data_id = " ".join(filter(None, (data_id, teacher_id)))
    recipe = recipe_fingerprint(model, data_id, method, config, images.augmentation, train_seed, task)
    # Of the first process, whose weights all others take over.
    origin = Origin(recipe, "" if folder is None else share_text(tensor_digest(model.state_dict())))
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / FINISHED).exists():
            epoch, history = load_finished(folder, model, origin), read_history(folder)
            if world()[0] == 0:
                restore_history(folder, history)
            return TrainingResult(model.eval(), epoch, history)
    fabric = fabric or single_device_fabric(next(model.parameters()).device, config.precision)
    if config.channels_last and len(images.shape) != 3:
        raise InputError(
            f"channels_last needs images (N, C, H, W), got inputs of shape (N, {', '.join(map(str, images.shape))}); "
            "set it to False."
        )
    check_fabric(fabric, config.precision, config.batch_size, shards=method.shard(*world()).num_shards)
    images, validation = images.to(fabric.device), (to_device(inputs, fabric.device), labels.to(fabric.device))
    run = _Run(model, method, config, images, validation, task, train_seed, folder, origin, probe, fabric)
    return run.train(on_epoch)


@dataclass(frozen=True)
class _Run:
    """The checked arguments of one training, on the device that it runs on."""

    model: nn.Module
    method: Method
    config: TrainingConfig
    images: TrainingSet
    validation: LabelledImages
    task: Task
    train_seed: int
    folder: Path | None
    origin: Origin
    probe: Probe | None
    fabric: Fabric

    def train(self, on_epoch: Callable[[Row], None] | None) -> TrainingResult:
        """Run the remaining epochs, then load and save the selected weights."""
        model, config, folder, fabric = self.model, self.config, self.folder, self.fabric
        model.to(fabric.device)
        if config.channels_last:
            model.to(memory_format=torch.channels_last)
        check_first_images(model, self.images, self.validation, self.task, self.train_seed)
        if config.distillation is not None:
            cast(nn.Module, config.distillation.teacher).to(fabric.device)
        optimizer = config.base_optimizer(model)
        progress = Progress()
        if folder is not None:
            progress = load_progress(folder, model, optimizer, self.origin)
            if fabric.is_global_zero:
                restore_history(folder, progress.history)
            fabric.barrier()  # no process writes before all have read
        module = torch.compile(model) if config.compile else model
        assert isinstance(module, nn.Module)  # torch.compile of a module returns a module
        # Fabric's own wrapper would repeat the casts that autocast does here.
        wrapped = fabric.setup_module(module)._forward_module
        while progress.epoch < config.epochs:
            row = self._epoch(wrapped, optimizer, progress.epoch + 1, progress.history)
            progress.history.append(row)
            select_epochs(progress, row, config, model, self.task.primary)
            if fabric.is_global_zero:
                if folder is not None:
                    append_rows(folder / HISTORY, [row])
                    save_progress(folder, model, optimizer, progress, self.origin)
                if on_epoch is not None:
                    on_epoch(row)
        progress.selected[0].load_into(model)
        if folder is not None and fabric.is_global_zero:
            save_finished(folder, progress, self.origin, config.selections)
        fabric.barrier()
        return TrainingResult(model.eval(), progress.selected[0].epoch, progress.history)

    def _epoch(self, wrapped: nn.Module, optimizer: torch.optim.Optimizer, epoch: int, history: list[Row]) -> Row:
        """Train and validate one epoch; return its row, equal on all processes."""
        model, method, fabric = self.model, self.method, self.fabric
        began = time.perf_counter()
        start = [p.detach().clone() for p in model.parameters()]
        row = train_epoch(
            wrapped,
            method,
            self.config,
            optimizer,
            self.images,
            self.task,
            train_seed=self.train_seed,
            epoch=epoch,
            autocast=fabric.autocast,
        )
        moved = float(global_norm(torch._foreach_sub([p.detach() for p in model.parameters()], start)))
        row["distance"] = (history[-1]["distance"] if history else 0.0) + moved
        share_buffers(model, source=method.statistics_rank)
        if fabric.is_global_zero:
            with self.method.with_faults(model):
                row |= validate(model, self.config.early_stopping, self.validation, self.task, self.train_seed)
            row["seconds"] = round(time.perf_counter() - began, 3)
            if self.probe is not None and math.isfinite(row["loss"]):
                began = time.perf_counter()
                row |= self.probe(model, method, row["updates"])
                row["probe_seconds"] = round(time.perf_counter() - began, 3)
        row = fabric.broadcast(row)
        if not math.isfinite(row["loss"]):  # no training loss follows the last update of an epoch
            raise divergence_error("the validation loss", row["updates"], epoch, method)
        return row
