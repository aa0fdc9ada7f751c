"""Images in torch's channels-last format, in which convolutions on a CPU take down to half the time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from aimc_robust.float32_convolutions import float32_convolutions
from aimc_robust.tasks.batches import Batch

PACKAGES = {"torch", "torchvision", "timm", "aimc_robust"}
"""Their layers and networks take images in any format, and keep nothing of a forward pass."""
CLOSE = 1e-3  # of the largest output: far above rounding


@dataclass
class FastestFormat:
    """Batches with their images (N, C, H, W) in channels-last format, if a model of `PACKAGES` takes them.

    Whether it does is tried with two examples of the first batch. Results are equal up to rounding. Batches of other
    models, and other batches than (images, labels), are those that were given.
    """

    batches: Iterable[Batch]
    model: nn.Module
    _is_faster: bool | None = field(default=None, init=False)  # not known before the first batch

    def __post_init__(self) -> None:
        if not _is_known(self.model):
            self._is_faster = False

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.batches:
            if self._is_faster is not False and _has_images(batch):
                images, labels = batch
                if self._is_faster is None:
                    self._is_faster = _takes_channels_last(self.model, images[:2])
                yield (_channels_last(images), labels) if self._is_faster else batch
            else:
                yield batch


def _is_known(model: nn.Module) -> bool:
    """Return whether it is a network of `PACKAGES` on a CPU, without hooks, whose images and maps have channels."""
    modules = list(model.modules())
    convolutions = [layer for layer in modules if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
    # Convolutions of images with one channel have crashed in this format (torch 2.14).
    return (
        bool(convolutions)
        and all(layer.in_channels > 1 for layer in convolutions)
        and all(parameter.device.type == "cpu" for parameter in model.parameters())
        and all(type(module).__module__.partition(".")[0] in PACKAGES for module in modules)
        and not any(_is_changed(module) for module in modules)
    )


def _is_changed(module: nn.Module) -> bool:
    """Return whether code of a user runs in its forward pass."""
    return bool(module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module))


def _has_images(batch: Batch) -> bool:
    is_pair = isinstance(batch, tuple | list) and len(batch) == 2
    return is_pair and isinstance(batch[0], Tensor) and batch[0].ndim == 4 and len(batch[0]) > 0


@torch.inference_mode()
@float32_convolutions()
def _takes_channels_last(model: nn.Module, images: Tensor) -> bool:
    try:
        with torch.random.fork_rng([]):
            expected = model(images)
        with torch.random.fork_rng([]):
            result = model(_channels_last(images))
        # Outputs of other shapes, such as maps, would come in this format, too, and metrics may take views of them.
        close = CLOSE * float(expected.abs().max())
        return expected.ndim == 2 and torch.allclose(result, expected, rtol=0.0, atol=close)
    except Exception:  # one of the data is raised by the evaluation, which runs the model on all of them
        return False


def _channels_last(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)
