"""What a Lightning `Trainer` needs beside `RobustOptimizer`: a callback that measures and logs after each epoch."""

from aimc_robust.errors import InputError, MissingDependencyError
from aimc_robust.training.loop import Probe
from aimc_robust.training.robust_optimizer import RobustOptimizer

try:
    import lightning.pytorch as pl
except ImportError as error:
    raise MissingDependencyError(
        "aimc_robust.integrations.lightning needs Lightning: pip install 'aimc-robust[lightning]'"
    ) from error


class DiagnosticsCallback(pl.Callback):
    """Logs what a probe such as `analysis.Diagnostics` measures after each training epoch, and the method's strength.

    Model, method and number of updates are those of the trainer's `RobustOptimizer`. The probe runs on rank 0 alone, so
    it must not wait for other workers; names are logged with `prefix`, numbers that are None not at all.
    Training goes on as if nothing had been measured, as a probe leaves model and generators as they were.
    """

    def __init__(self, probe: Probe | None = None, *, prefix: str = "") -> None:
        """probe: None logs the strength alone."""
        self.probe, self.prefix = probe, prefix

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Raises InputError unless configure_optimizers gave a RobustOptimizer."""
        _robust_optimizer(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        optimizer = _robust_optimizer(trainer)
        found: dict[str, float | None] = {"strength": optimizer.strength}
        if self.probe is not None:
            found |= self.probe(optimizer.model, optimizer.method, optimizer.steps)
        numbers = {f"{self.prefix}{name}": float(value) for name, value in found.items() if value is not None}
        pl_module.log_dict(numbers, rank_zero_only=True)


def _robust_optimizer(trainer: pl.Trainer) -> RobustOptimizer:
    found = next((optimizer for optimizer in trainer.optimizers if isinstance(optimizer, RobustOptimizer)), None)
    if found is None:
        raise InputError(
            "DiagnosticsCallback found no RobustOptimizer; return RobustOptimizer(optimizer, model, method) from "
            "configure_optimizers."
        )
    return found
