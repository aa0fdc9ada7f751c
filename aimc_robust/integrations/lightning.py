"""Lightning callback for `RobustOptimizer`: measures and logs after each epoch."""

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
    """Log the method's strength and the columns of a probe, such as `analysis.Diagnostics`, after each epoch.

    Model, method and number of updates are those of the trainer's `RobustOptimizer`. The probe runs on rank 0 only, so
    it must not wait for other workers. It leaves model and generators unchanged, so the training is the same without
    the callback.

    Args:
        probe: Probe to run; None logs only the strength.
        prefix: Prefix of the logged names. Values that are None are not logged.
    """

    def __init__(self, probe: Probe | None = None, *, prefix: str = "") -> None:
        self.probe, self.prefix = probe, prefix

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Raise InputError unless configure_optimizers returned a RobustOptimizer."""
        _robust_optimizer(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Run the probe and log its columns."""
        if not trainer.is_global_zero:
            return
        optimizer = _robust_optimizer(trainer)
        columns: dict[str, float | None] = {"strength": optimizer.strength}
        if self.probe is not None:
            columns |= self.probe(optimizer.model, optimizer.method, optimizer.steps)
        metrics = {f"{self.prefix}{name}": float(value) for name, value in columns.items() if value is not None}
        pl_module.log_dict(metrics, rank_zero_only=True)


def _robust_optimizer(trainer: pl.Trainer) -> RobustOptimizer:
    for optimizer in trainer.optimizers:
        if isinstance(optimizer, RobustOptimizer):
            return optimizer
    raise InputError(
        "DiagnosticsCallback found no RobustOptimizer; return RobustOptimizer(optimizer, model, method) from "
        "configure_optimizers."
    )
