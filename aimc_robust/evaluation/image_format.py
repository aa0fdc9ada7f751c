"""Images in torch's channels-last format, in which convolutions on a CPU take down to half the time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from aimc_robust.float32_convolutions import float32_convolutions
from aimc_robust.noise.perturbation import frozen_buffers
from aimc_robust.tasks.batches import Batch, map_tensors, select
from aimc_robust.tasks.task import Task

CLOSE = 1e-3  # of the largest output: far above rounding


@dataclass(frozen=True)
class ChannelsLast:
    """Batches with their images (N, C, H, W) in channels-last format, converted in every pass."""

    batches: Iterable[Batch]

    def __iter__(self) -> Iterator[Batch]:
        return (map_tensors(batch, _channels_last) for batch in self.batches)


def in_fastest_format(model: nn.Module, batches: Iterable[Batch], task: Task) -> Iterable[Batch]:
    """Return the batches, in channels-last format if `model` has convolutions on a CPU and takes them in this format.

    Whether it does is tried with two examples: a model that takes views of images as they lie in memory raises an error
    or returns something else. Results are equal up to rounding.
    """
    convolutions = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    # Convolutions of images with one channel have crashed in this format (torch 2.14).
    is_suited = convolutions and all(layer.in_channels > 1 for layer in convolutions)
    on_cpu = all(parameter.device.type == "cpu" for parameter in model.parameters())
    return ChannelsLast(batches) if is_suited and on_cpu and _takes_channels_last(model, batches, task) else batches


@torch.inference_mode()
@float32_convolutions()
def _takes_channels_last(model: nn.Module, batches: Iterable[Batch], task: Task) -> bool:
    try:
        example = select(next(iter(batches)), slice(2))
        results = []
        for batch in (example, map_tensors(example, _channels_last)):
            with frozen_buffers(model), torch.random.fork_rng([]):
                results.append(task.run(model, batch)[0].float())
    except Exception:  # one of the model or the data is raised again by the evaluation
        return False
    expected, result = results
    return torch.allclose(result, expected, rtol=0.0, atol=CLOSE * float(expected.abs().max()), equal_nan=True)


def _channels_last(values: Tensor) -> Tensor:
    return values.contiguous(memory_format=torch.channels_last) if values.ndim == 4 else values
