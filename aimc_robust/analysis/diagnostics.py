"""What the figures of the Incorruptible paper show of a training, measured after each epoch: a probe for `train`.

    train(..., probe=Diagnostics(DiagnosticsConfig(), training=..., test=..., loss_fn=...))

adds these keys to each row of history.jsonl (None: not finite, or the method has no such thing):

    train_accuracy@S, train_loss@S,     on fixed training (test) images, at weights under Gaussian noise of sigma S;
    test_accuracy@S, test_loss@S        @0: at the clean weights (Figs. 3, 10, 11, 16)
    train_sharpness@S, test_sharpness@S     average direction: loss@S - loss@0 (Figs. 10, 11)
    train_ascent_sharpness, test_ascent_sharpness   ascent direction, radius rho, the same for all methods (Fig. 15b)
    gradient_norm           L2 norm of the gradient that an update takes (Fig. 4a)
    gradient_sharpness      loss at the method's own perturbed weights - loss at the clean ones (Figs. 4b, 15a)
    gradient_cosine         of the gradients at those two places (Fig. 6)
    full_strength_loss      loss at the method's own perturbed weights, as if its ramp were over (Fig. 16)

Every loss is the one that training minimises, label smoothing included, on test images too: train and test then
compare. The first three kinds are measured in evaluation mode, as a model is used; the last four in training mode, as
an update sees the model, and on training images. Images come without augmentation. Accuracies in percent.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from aimc_robust.analysis.sharpness import ascent_sharpness
from aimc_robust.analysis.update_gradients import measure_updates
from aimc_robust.data.batches import check_data, split_batches
from aimc_robust.errors import InputError, require_finite, require_whole
from aimc_robust.io.atomic import Row
from aimc_robust.metrics import Batch
from aimc_robust.noise.gaussian import Gaussian
from aimc_robust.noise.perturbation import perturbed
from aimc_robust.noise.scales import check_scale
from aimc_robust.noise.unwrap import unwrapped
from aimc_robust.seeding import Axes
from aimc_robust.training.epoch import seeded
from aimc_robust.training.methods.base import Method, frozen_buffers
from aimc_robust.training.methods.gradient_passes import LossFunction

SPLITS = ("train", "test")


@dataclass(frozen=True, kw_only=True)
class DiagnosticsConfig:
    """What is measured after each epoch, and with how much care.

    sigmas, scale: Gaussian weight noise (`noise.Gaussian`), each sigma above 0; the defaults are those of Figs. 3, 10
        and 11. draws: of the noise, averaged; the same ones at every sigma and epoch, so that curves are smooth.
    rho: radius of the ascent direction, in the units of the weights; one for all methods, so that they compare
        (`gradient_sharpness` has each method's own).
    images: of each split, the same ones at every epoch; all of a smaller split.
    batch_size: the m of m-sharpness and of the gradients, from which a last partial batch is left out.
    seed: root of the draws and of the choice of images.
    """

    sigmas: tuple[float, ...] = (0.02, 0.05, 0.07)
    scale: str = "filter_max"
    draws: int = 3
    rho: float = 0.05
    images: int = 512
    batch_size: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.sigmas, list | tuple):
            raise InputError(f"sigmas must be a list of numbers such as [0.02, 0.07], got {self.sigmas!r}.")
        for sigma in self.sigmas:
            require_finite("each of sigmas", sigma)
        object.__setattr__(self, "sigmas", tuple(self.sigmas))
        names = [f"{sigma:g}" for sigma in (0, *self.sigmas)]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise InputError(f"sigmas holds {twice[0]} twice (0, the clean weights, is always there); name each once.")
        check_scale(self.scale)
        require_finite("rho", self.rho)
        for name in ("draws", "images", "batch_size"):
            require_whole(name, getattr(self, name), low=1)
        require_whole("seed", self.seed, low=0)


class Diagnostics:
    """A probe for `train`: called with (model, method, number of the last update), it returns the keys above.

    It leaves weights, buffers, gradients, modes and global generators bit for bit as they were, works on one process
    alone, and runs in the weights' own precision.
    """

    def __init__(self, config: DiagnosticsConfig, *, training: Batch, test: Batch, loss_fn: LossFunction) -> None:
        """training, test: (inputs, labels) as the model takes them, without augmentation. loss_fn: of training."""
        self.config, self.loss_fn = config, loss_fn
        self.axes = Axes(config.seed).at(use="diagnostics")
        self.data = {split: self._chosen(split, data) for split, data in zip(SPLITS, (training, test), strict=True)}

    def __call__(self, model: nn.Module, method: Method, step: int) -> Row:
        model = unwrapped(model)
        device = next(model.parameters()).device
        batches = {
            split: split_batches(tuple(part.to(device) for part in data), self.config.batch_size)
            for split, data in self.data.items()
        }
        whole = {split: [b for b in found if len(b[1]) == len(found[0][1])] for split, found in batches.items()}
        with _undisturbed(model), seeded(self.axes, device):
            model.eval()
            row = self._at_sigmas(model, batches)
            for split in SPLITS:
                found = ascent_sharpness(model, self.loss_fn, whole[split], rho=self.config.rho)
                row[f"{split}_ascent_sharpness"] = found
            model.train()
            row |= measure_updates(model, method, self.loss_fn, whole["train"], step=step, axes=self.axes)
        return {key: value if value is not None and math.isfinite(value) else None for key, value in row.items()}

    def _chosen(self, split: str, data: Batch) -> Batch:
        check_data(f"the {split} images of diagnostics", data)
        order = torch.randperm(len(data[1]), generator=self.axes.at(split=split).generator())
        chosen = order[: self.config.images].to(data[1].device)
        return data[0][chosen], data[1][chosen]

    def _at_sigmas(self, model: nn.Module, batches: dict[str, list[Batch]]) -> Row:
        """Accuracy, loss and average-direction sharpness at each sigma."""
        row = {}
        for sigma in (0.0, *self.config.sigmas):
            draws = range(self.config.draws if sigma else 1)
            sums = dict.fromkeys([(split, key) for split in SPLITS for key in ("accuracy", "loss")], 0.0)
            for draw in draws:
                # The sigma has no part in the draw: one direction, scaled.
                with perturbed(model, Gaussian(sigma, self.config.scale), generator=self.axes.at(draw=draw)):
                    for split in SPLITS:
                        accuracy, loss = _measured(model, self.loss_fn, batches[split])
                        sums[split, "accuracy"] += accuracy
                        sums[split, "loss"] += loss
            row |= {f"{split}_{key}@{sigma:g}": total / len(draws) for (split, key), total in sums.items()}
            if sigma:
                for split in SPLITS:
                    row[f"{split}_sharpness@{sigma:g}"] = row[f"{split}_loss@{sigma:g}"] - row[f"{split}_loss@0"]
        return row


@torch.no_grad()
def _measured(model: nn.Module, loss_fn: LossFunction, batches: list[Batch]) -> tuple[float, float]:
    """(accuracy [percent], mean loss) over all images."""
    correct, loss, images = 0, 0.0, 0
    for inputs, labels in batches:
        outputs = model(inputs)
        correct += int((outputs.argmax(dim=1) == labels).sum())
        loss += float(loss_fn(outputs, labels)) * len(labels)
        images += len(labels)
    return 100.0 * correct / images, loss / images


@contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """Put buffers, gradients and each module's mode back on leaving; inside, there are no gradients yet."""
    modes = [(module, module.training) for module in model.modules()]
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    for parameter, _ in gradients:
        parameter.grad = None
    try:
        with frozen_buffers(model):
            yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter, gradient in gradients:
            parameter.grad = gradient
