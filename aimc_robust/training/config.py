"""How long and how a model is trained, whatever the method."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from aimc_robust.errors import InputError, require_finite, require_known, require_whole
from aimc_robust.noise.gaussian import Gaussian

OPTIMIZERS = ("sgd", "adam", "adamw")
SCHEDULES = ("cosine", "constant")
PRECISIONS = ("32-true", "bf16-mixed")


@dataclass(frozen=True, kw_only=True)
class EarlyStopping:
    """Keep the epoch with the best accuracy on the validation split under Gaussian weight noise.

    All epochs are run; the selection is the stopping, as in the Incorruptible paper's App. B (which selects on the
    test set; here it is the validation split). sigma, scale: the noise; 0 selects on clean accuracy. Several sigmas
    keep an epoch each: the best under a little noise is seldom the best under much.
    draws: noise draws averaged per epoch, the same ones at every epoch.
    """

    sigma: float | Sequence[float]
    scale: str = "filter_max"
    draws: int = 5

    def __post_init__(self) -> None:
        if isinstance(self.sigma, Sequence) and not isinstance(self.sigma, str):
            object.__setattr__(self, "sigma", tuple(float(sigma) for sigma in self.sigma))
            if not self.sigma or len(set(self.sigma)) < len(self.sigma):
                raise InputError(f"early_stopping needs at least one sigma and each once, got {list(self.sigma)}.")
        for sigma in self.sigmas:
            Gaussian(sigma, self.scale)
        require_whole("draws", self.draws, low=1)

    @property
    def sigmas(self) -> tuple[float, ...]:
        """Each sigma that an epoch is kept for."""
        return self.sigma if isinstance(self.sigma, tuple) else (self.sigma,)


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """The recipe that all methods share.

    An epoch is one pass over the training images; a method that takes two batches per update (m-RWP) makes as many
    updates and sees the images twice, in two orders.
    optimizer: `sgd` (with Nesterov-free momentum), `adam` or `adamw`. schedule: `cosine` lets lr fall from its value to
    0 along half a cosine, update by update; `constant` keeps it. warmup_epochs: lr first rises from 0 over so many.
    clip_norm: the L2 norm that an update's gradient is cut to; None leaves it.
    precision: `32-true`, or `bf16-mixed` (autocast: convolutions and products in bfloat16, weights in float32).
    channels_last: keep images and filters channel by channel in memory, which is faster; the numbers stay, up to
    rounding. compile: run the model through torch.compile.
    early_stopping: None keeps the last epoch.
    """

    epochs: int
    batch_size: int = 128
    lr: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    early_stopping: EarlyStopping | None = None
    optimizer: str = "sgd"
    schedule: str = "cosine"
    warmup_epochs: float = 0.0
    clip_norm: float | None = None
    precision: str = "32-true"
    channels_last: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        require_whole("epochs", self.epochs, low=1)
        require_whole("batch_size", self.batch_size, low=1)
        for name in ("lr", "weight_decay"):
            require_finite(name, getattr(self, name))
        for name in ("momentum", "label_smoothing"):
            require_finite(name, getattr(self, name), high=1.0)
        require_known("optimizer", self.optimizer, OPTIMIZERS)
        require_known("schedule", self.schedule, SCHEDULES)
        require_finite("warmup_epochs", self.warmup_epochs, high=float(self.epochs))
        if self.clip_norm is not None:
            require_finite("clip_norm", self.clip_norm)
            if self.clip_norm == 0:
                raise InputError("clip_norm must be above 0: a norm of 0 would train nothing. None switches it off.")
        if self.precision == "16-mixed":
            raise InputError("precision 16-mixed needs loss scaling; use bf16-mixed, which has the range of float32.")
        require_known("precision", self.precision, PRECISIONS)
        for name in ("channels_last", "compile"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{name} must be true or false, got {getattr(self, name)!r}.")

    @property
    def selections(self) -> tuple[float | None, ...]:
        """The epochs that are kept: a sigma of early stopping each, or None for the last epoch."""
        return (None,) if self.early_stopping is None else self.early_stopping.sigmas

    def updates_per_epoch(self, images: int) -> int:
        """Updates in one epoch over `images` training images; a last partial batch is dropped, unless it is all."""
        return max(1, images // self.batch_size)

    def base_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """The optimizer that applies the method's gradients."""
        if self.optimizer == "sgd":
            options = {"lr": self.lr, "momentum": self.momentum, "weight_decay": self.weight_decay}
            return torch.optim.SGD(model.parameters(), **options)
        kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[self.optimizer]
        return kind(model.parameters(), lr=self.lr, weight_decay=self.weight_decay)

    def learning_rate(self, step: int, updates_per_epoch: int) -> float:
        """lr at update `step`, from 1."""
        total, warmup = self.epochs * updates_per_epoch, self.warmup_epochs * updates_per_epoch
        if step <= warmup:
            return self.lr * step / warmup
        if self.schedule == "constant":
            return self.lr
        return self.lr * 0.5 * (1.0 + math.cos(math.pi * (step - 1 - warmup) / (total - warmup)))
