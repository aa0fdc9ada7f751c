"""Protection of a model's buffers (BatchNorm statistics) during a forward pass."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def frozen_buffers(model: nn.Module, *, nonfinite_only: bool = False) -> Iterator[None]:
    """Restore the model's buffers on exit.

    Saving the buffers, instead of switching BatchNorm off, also covers custom normalization layers and layers that
    replace a buffer by a new tensor.

    Args:
        model: The model whose buffers are saved.
        nonfinite_only: Restore only buffers that contain NaN or infinity on exit.
    """
    saved = [
        (module, name, buffer, buffer.detach().clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for module, name, buffer, value in saved:
                current = module._buffers[name]
                if nonfinite_only and current is not None:
                    value = torch.where(current.isfinite().all(), current, value)
                module._buffers[name] = buffer.copy_(value)
