"""Training settings that all methods share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import nn

from aimc_robust.errors import InputError, names_arguments, require_finite, require_known, require_type, require_whole
from aimc_robust.noise.distributions import Gaussian
from aimc_robust.noise.scales import NoiseScale
from aimc_robust.tasks.distillation import Distillation
from aimc_robust.training.weight_clipping import WeightClipping

OptimizerName = Literal["sgd", "adam", "adamw"]
Schedule = Literal["cosine", "constant"]
Precision = Literal["32-true", "bf16-mixed"]


@names_arguments
@dataclass(frozen=True, kw_only=True)
class EarlyStopping:
    """Select the epoch with the best accuracy on the validation split under Gaussian weight noise.

    All epochs are run; only the weights of the best one are kept, as in the Incorruptible paper's App. B (which selects
    on the test set; here it is the validation split).

    Args:
        sigma: Noise strength; 0 selects on clean accuracy. For several values, one epoch is selected for each: the best
            epoch under weak noise is rarely the best under strong noise.
        scale: Scale of the noise, see `noise.Gaussian`.
        draws: Noise draws averaged per epoch, the same ones in every epoch.
    """

    sigma: float | Sequence[float]
    scale: NoiseScale = "filter_max"
    draws: int = 5

    def __post_init__(self) -> None:
        if isinstance(self.sigma, Sequence) and not isinstance(self.sigma, str):
            for sigma in self.sigma:
                require_finite("sigma", sigma)
            object.__setattr__(self, "sigma", tuple(float(sigma) for sigma in self.sigma))
            if not self.sigma or len(set(self.sigma)) < len(self.sigma):
                raise InputError(f"early_stopping needs at least one sigma and each once, got {list(self.sigma)}.")
        for sigma in self.sigmas:
            Gaussian(sigma, self.scale)
        require_whole("draws", self.draws, low=1)

    @property
    def sigmas(self) -> tuple[float, ...]:
        """Noise strengths for which an epoch is selected."""
        return self.sigma if isinstance(self.sigma, tuple) else (self.sigma,)


@names_arguments
@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Training settings, independent of the method.

    An epoch is one pass over the training images. A method that takes two batches per update (m-RWP) makes as many
    updates per epoch and reads the images twice, in two orders.

    Args:
        epochs: Number of epochs.
        batch_size: Images per batch, over all workers together.
        lr: Peak learning rate.
        momentum: Momentum of `sgd`.
        weight_decay: Weight decay of the optimizer.
        label_smoothing: Label smoothing of the cross-entropy loss, 0 to 1.
        early_stopping: Selection of an epoch; None keeps the last one.
        optimizer: `sgd` (with Nesterov-free momentum), `adam` or `adamw`.
        schedule: `cosine` decreases the learning rate to 0 along half a cosine, update by update; `constant` keeps it.
        warmup_epochs: Epochs over which the learning rate first rises linearly from 0.
        clip_norm: Bound on the L2 norm of an update's gradient; None disables clipping.
        weight_clipping: Clipping of the weights after each update; None: none.
        distillation: Learning from a teacher's outputs too, see `Distillation`; None: none.
        precision: `32-true`, or `bf16-mixed` (autocast: convolutions and products in bfloat16, weights in float32).
        channels_last: Use the channels-last memory format, which is faster; results are equal up to rounding.
        compile: Run the model through torch.compile.
    """

    epochs: int
    batch_size: int = 128
    lr: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    early_stopping: EarlyStopping | None = None
    optimizer: OptimizerName = "sgd"
    schedule: Schedule = "cosine"
    warmup_epochs: float = 0.0
    clip_norm: float | None = None
    precision: Precision = "32-true"
    channels_last: bool = False
    compile: bool = False
    weight_clipping: WeightClipping | None = None
    distillation: Distillation | None = None

    def __post_init__(self) -> None:
        require_whole("epochs", self.epochs, low=1, high=10**9)
        require_whole("batch_size", self.batch_size, low=1)
        for name in ("lr", "weight_decay"):
            require_finite(name, getattr(self, name))
        for name in ("momentum", "label_smoothing"):
            require_finite(name, getattr(self, name), high=1.0)
        require_type("early_stopping", self.early_stopping, EarlyStopping | None, example="an EarlyStopping or None")
        require_known("optimizer", self.optimizer, get_args(OptimizerName))
        require_known("schedule", self.schedule, get_args(Schedule))
        require_finite("warmup_epochs", self.warmup_epochs, high=float(self.epochs))
        if self.clip_norm is not None:
            require_finite("clip_norm", self.clip_norm)
            if self.clip_norm == 0:
                raise InputError("clip_norm must be above 0: a norm of 0 stops training. None disables clipping.")
        clipping = self.weight_clipping
        require_type("weight_clipping", clipping, WeightClipping | None, example="WeightClipping(std=2.5), or None")
        teaching = self.distillation
        require_type("distillation", teaching, Distillation | None, example="Distillation(weight=0.5), or None")
        if teaching is not None and (teaching.task is not None or teaching.label_smoothing):
            raise InputError("in a TrainingConfig the task and label_smoothing are the training's; give them there.")
        if str(self.precision) == "16-mixed":
            raise InputError("precision 16-mixed needs loss scaling; use bf16-mixed, which has the range of float32.")
        require_known("precision", self.precision, get_args(Precision))
        for name in ("channels_last", "compile"):
            require_type(name, getattr(self, name), bool, example="true or false")

    @property
    def selections(self) -> tuple[float | None, ...]:
        """One entry for each epoch that is kept: a sigma of early stopping, or None for the last epoch."""
        return (None,) if self.early_stopping is None else self.early_stopping.sigmas

    def updates_per_epoch(self, images: int) -> int:
        """Return the updates of one epoch; a last partial batch of the images counts only if it is the only one."""
        return max(1, images // self.batch_size)

    def base_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """Return the optimizer that applies the method's gradients to `model`."""
        parameters = model.parameters()
        if self.optimizer == "sgd":
            return torch.optim.SGD(parameters, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)
        optimizer_class = torch.optim.Adam if self.optimizer == "adam" else torch.optim.AdamW
        return optimizer_class(parameters, lr=self.lr, weight_decay=self.weight_decay)

    def learning_rate(self, step: int, updates_per_epoch: int) -> float:
        """Return the learning rate at update `step`, from 1."""
        total, warmup = self.epochs * updates_per_epoch, self.warmup_epochs * updates_per_epoch
        if step <= warmup:
            return self.lr * step / warmup
        if self.schedule == "constant":
            return self.lr
        return self.lr * 0.5 * (1.0 + math.cos(math.pi * (step - 1 - warmup) / (total - warmup)))
