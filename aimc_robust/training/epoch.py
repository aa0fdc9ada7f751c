"""One epoch of training, and the accuracy on the validation split after it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn

from aimc_robust.data.batches import split_batches
from aimc_robust.data.in_memory import Images
from aimc_robust.data.lazy import LabelledImages
from aimc_robust.data.streaming import StreamedImages
from aimc_robust.errors import DivergenceError, InputError, exact_text
from aimc_robust.io.atomic import Row
from aimc_robust.metrics import Batch, measure
from aimc_robust.noise.gaussian import Gaussian
from aimc_robust.noise.perturbation import perturbed
from aimc_robust.seeding import Axes
from aimc_robust.training.config import EarlyStopping, TrainingConfig
from aimc_robust.training.methods.base import Method
from aimc_robust.training.methods.distributed import mean_over_workers, world

EVALUATION_BATCH_SIZE = 512

Autocast = Callable[[], AbstractContextManager[None]]


def loss_function(config: TrainingConfig) -> nn.Module:
    """Return the loss that training minimizes: cross-entropy with label smoothing."""
    return nn.CrossEntropyLoss(label_smoothing=config.label_smoothing)


def train_epoch(
    model: nn.Module,
    method: Method,
    config: TrainingConfig,
    optimizer: torch.optim.Optimizer,
    images: Images | StreamedImages,
    *,
    train_seed: int,
    epoch: int,
    autocast: Autocast,
) -> Row:
    """Train for one pass over the images.

    Every random number derives from (train_seed, epoch), so resuming needs no generator state.

    Args:
        model: Model to train, in place.
        method: Training method.
        config: Training settings.
        optimizer: Optimizer of the model's parameters.
        images: Training images.
        train_seed: Root seed of the image order and of random numbers inside the model.
        epoch: Number of the epoch, from 1.
        autocast: Factory of the context that runs forward and backward passes.

    Returns:
        Row with epoch, updates, lr, strength and train_loss (mean over updates and workers).

    Raises:
        DivergenceError: If a loss is not finite, on all workers alike.
    """
    updates = config.updates_per_epoch(len(images))
    streams = _batch_streams(images, method, config.batch_size, train_seed, epoch)
    loss_fn = loss_function(config)
    losses: list[Tensor] = []
    model.train()
    with seeded(Axes(train_seed).at(use="model", epoch=epoch), images.device):
        updates_of_streams = zip(*streams, strict=True)
        for step, batches in enumerate(updates_of_streams, start=(epoch - 1) * updates + 1):
            lr = config.learning_rate(step, updates)
            for group in optimizer.param_groups:
                group["lr"] = lr
            optimizer.zero_grad()
            losses.append(_backward(model, method, config, loss_fn, batches, step=step, epoch=epoch, autocast=autocast))
            if config.clip_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
            optimizer.step()
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


def _batch_streams(
    images: Images | StreamedImages, method: Method, batch_size: int, seed: int, epoch: int
) -> list[Iterator[Batch]]:
    """Return the batches of this process, one stream for each batch of an update."""
    streams, shard, num_shards = method.shard(*world())
    return [
        images.epoch(epoch, batch_size=batch_size, seed=seed, stream=stream, shard=shard, num_shards=num_shards)
        for stream in streams
    ]


def _backward(
    model: nn.Module,
    method: Method,
    config: TrainingConfig,
    loss_fn: nn.Module,
    batches: Sequence[Batch],
    *,
    step: int,
    epoch: int,
    autocast: Autocast,
) -> Tensor:
    if config.channels_last:
        batches = [(inputs.contiguous(memory_format=torch.channels_last), labels) for inputs, labels in batches]
    try:
        with autocast():
            return method.backward(model, loss_fn, batches, step=step)
    except InputError:  # for example, a crossbar that rejects weights which an earlier update made NaN
        if all(p.isfinite().all() for p in model.parameters()):
            raise
        raise divergence_error("a weight", step, epoch, method) from None


@contextmanager
def seeded(axes: Axes, device: torch.device) -> Iterator[None]:
    """Seed the global generators (used by dropout) from `axes`; restore their state on exit."""
    rank, _ = world()
    axes = axes.at(worker=rank) if rank else axes
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(axes.seed())
        yield


def divergence_error(quantity: str, step: int, epoch: int, method: Method) -> DivergenceError:
    """Return the error for a `quantity` that is not finite at update `step`, with the method and its strength."""
    strength = method.strength(step)
    at, remedy = (
        ("", "") if strength is None else (f" at strength {strength:g}", " or the strength, or lengthen the ramp")
    )
    return DivergenceError(
        f"{quantity} is not finite at update {step} (epoch {epoch}) of {type(method).__name__}{at}; lower lr{remedy}."
    )


def validate(model: nn.Module, stopping: EarlyStopping | None, data: LabelledImages, train_seed: int) -> Row:
    """Measure accuracy on the validation split, clean and under the noise of early stopping.

    Args:
        model: Model to evaluate; it is left in evaluation mode.
        stopping: Early stopping, or None to measure clean accuracy only.
        data: (inputs, labels) of the validation split.
        train_seed: Root seed of the noise.

    Returns:
        Row with accuracy, loss and perturbed_accuracy. For several sigmas there is one `perturbed_accuracy_SIGMA` each,
        and `perturbed_accuracy` is that of the largest.
    """
    model.eval()
    batches = split_batches(data, EVALUATION_BATCH_SIZE)
    clean = measure(model, batches)
    row: Row = {"accuracy": clean.accuracy, "loss": clean.loss, "perturbed_accuracy": None}
    if stopping is None:
        return row
    scores: dict[float, float] = {}
    for sigma in stopping.sigmas:
        accuracies = []
        for draw in range(stopping.draws if sigma or len(stopping.sigmas) == 1 else 0):
            axes = Axes(train_seed).at(use="validation", chip=draw)
            with perturbed(model, Gaussian(sigma, stopping.scale), generator=axes):
                accuracies.append(measure(model, batches).accuracy)
        scores[sigma] = sum(accuracies) / len(accuracies) if accuracies else clean.accuracy
    row["perturbed_accuracy"] = scores[max(scores)]
    return row if len(scores) == 1 else row | {score_column(sigma): score for sigma, score in scores.items()}


def score_column(sigma: float) -> str:
    """Return the history column with the accuracy that selects the epoch for `sigma`, one of several."""
    return f"perturbed_accuracy_{exact_text(sigma)}"
