"""How long and how a model is trained, whatever the method."""

from __future__ import annotations

from dataclasses import dataclass

from aimc_robust.errors import require_finite, require_whole
from aimc_robust.noise.gaussian import Gaussian


@dataclass(frozen=True, kw_only=True)
class EarlyStopping:
    """Keep the epoch with the best accuracy on the validation split under Gaussian weight noise.

    All epochs are run; the selection is the stopping, as in the Incorruptible paper's App. B (which selects on the
    test set; here it is the validation split). sigma, scale: the noise; 0 selects on clean accuracy.
    draws: noise draws averaged per epoch, the same ones at every epoch.
    """

    sigma: float
    scale: str = "filter_max"
    draws: int = 5

    def __post_init__(self) -> None:
        Gaussian(self.sigma, self.scale)
        require_whole("draws", self.draws, low=1)


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """The recipe that all methods share: SGD with momentum, cosine learning rate, label smoothing, weight decay.

    lr falls from its value to 0 over the run along half a cosine, update by update.
    An epoch is one pass over the training images; a method that takes two batches per update (m-RWP) makes as many
    updates and sees the images twice, in two orders.
    early_stopping: None keeps the last epoch.
    """

    epochs: int
    batch_size: int = 128
    lr: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    early_stopping: EarlyStopping | None = None

    def __post_init__(self) -> None:
        require_whole("epochs", self.epochs, low=1)
        require_whole("batch_size", self.batch_size, low=1)
        for name in ("lr", "weight_decay"):
            require_finite(name, getattr(self, name))
        for name in ("momentum", "label_smoothing"):
            require_finite(name, getattr(self, name), high=1.0)

    def updates_per_epoch(self, images: int) -> int:
        """Updates in one epoch over `images` training images; a last partial batch is dropped, unless it is all."""
        return max(1, images // self.batch_size)
