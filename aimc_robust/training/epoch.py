"""One epoch of training, and what the validation split says after it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn

from aimc_robust.data.batches import split_batches
from aimc_robust.data.in_memory import Images
from aimc_robust.errors import DivergenceError, InputError
from aimc_robust.io.atomic import Row
from aimc_robust.metrics import Batch, measure
from aimc_robust.noise.gaussian import Gaussian
from aimc_robust.noise.perturbation import perturbed
from aimc_robust.seeding import Axes
from aimc_robust.training.config import EarlyStopping, TrainingConfig
from aimc_robust.training.methods.base import Method
from aimc_robust.training.methods.distributed import mean_over_workers, world

EVALUATION_BATCH = 512


def loss_function(config: TrainingConfig) -> nn.Module:
    """What training minimises."""
    return nn.CrossEntropyLoss(label_smoothing=config.label_smoothing)


def train_epoch(
    model: nn.Module,
    method: Method,
    config: TrainingConfig,
    optimizer: torch.optim.Optimizer,
    images: Images,
    *,
    seed: int,
    epoch: int,
    autocast: Callable[[], AbstractContextManager[None]],
) -> Row:
    """One pass over the images. Every random number derives from (seed, epoch): a resume needs no generator state.

    Returns epoch, updates, lr, strength and train_loss, the mean over the updates and workers.
    Raises DivergenceError, on all workers alike, when a loss was not finite.
    """
    updates = config.updates_per_epoch(len(images))
    names, part, parts = method.shard(*world())
    streams = [
        images.epoch(epoch, batch_size=config.batch_size, seed=seed, stream=stream, part=part, parts=parts)
        for stream in names
    ]
    loss_fn = loss_function(config)
    losses: list[Tensor] = []
    model.train()
    with seeded(Axes(seed).at(use="model", epoch=epoch), images.device):
        for step, batches in enumerate(zip(*streams, strict=True), start=(epoch - 1) * updates + 1):
            if config.channels_last:
                batches = [(inputs.contiguous(memory_format=torch.channels_last), labels) for inputs, labels in batches]
            lr = config.learning_rate(step, updates)
            for group in optimizer.param_groups:
                group["lr"] = lr
            optimizer.zero_grad()
            try:
                with autocast():
                    losses.append(method.backward(model, loss_fn, batches, step=step))
            except InputError:  # say, a crossbar that refuses weights which an earlier update has broken
                if all(p.isfinite().all() for p in model.parameters()):
                    raise
                raise divergence("a weight", step, epoch, method) from None
            if config.clip_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
            optimizer.step()
    all_losses = torch.stack(losses)
    all_losses = mean_over_workers([all_losses], [all_losses])[0]
    if not torch.isfinite(all_losses).all():
        # Looked at once an epoch: a look at every update would make a GPU wait each time.
        step = (epoch - 1) * updates + int((~torch.isfinite(all_losses)).nonzero()[0]) + 1
        raise divergence("the loss", step, epoch, method)
    return {
        "epoch": epoch,
        "updates": step,
        "lr": lr,
        "strength": method.strength(step),
        "train_loss": float(all_losses.mean()),
    }


@contextmanager
def seeded(axes: Axes, device: torch.device) -> Iterator[None]:
    """Inside, what draws from the global generators (dropout) draws from these axes; they are put back afterwards."""
    rank, _ = world()
    axes = axes.at(worker=rank) if rank else axes
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(axes.seed())
        yield


def divergence(what: str, step: int, epoch: int, method: Method) -> DivergenceError:
    """The error that names update, method and strength."""
    strength = method.strength(step)
    at, mend = (
        ("", "") if strength is None else (f" at strength {strength:g}", " or the strength, or lengthen the ramp")
    )
    return DivergenceError(
        f"{what} is not finite at update {step} (epoch {epoch}) of {type(method).__name__}{at}; lower lr{mend}."
    )


def validate(model: nn.Module, stopping: EarlyStopping | None, data: Batch, seed: int) -> Row:
    """Accuracy on the validation split, clean and under the noise that early stopping selects on.

    Several sigmas have a `perturbed_accuracy_SIGMA` each, and `perturbed_accuracy` is that of the greatest.
    """
    model.eval()
    batches = split_batches(data, EVALUATION_BATCH)
    clean = measure(model, batches)
    row = {"accuracy": clean.accuracy, "loss": clean.loss, "perturbed_accuracy": None}
    if stopping is None:
        return row
    scores = {}
    for sigma in stopping.sigmas:
        found = []
        for draw in range(stopping.draws if sigma or len(stopping.sigmas) == 1 else 0):
            axes = Axes(seed).at(use="validation", chip=draw)
            with perturbed(model, Gaussian(sigma, stopping.scale), generator=axes):
                found.append(measure(model, batches).accuracy)
        scores[sigma] = sum(found) / len(found) if found else clean.accuracy
    row["perturbed_accuracy"] = scores[max(scores)]
    return row if len(scores) == 1 else row | {score_key(sigma): score for sigma, score in scores.items()}


def score_key(sigma: float) -> str:
    """What a history row calls the accuracy that one of several selections goes by."""
    return f"perturbed_accuracy_{sigma:g}"
