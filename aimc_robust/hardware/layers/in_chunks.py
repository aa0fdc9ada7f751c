"""Compute a layer's outputs for a few images at a time."""

from collections.abc import Callable

import torch
from torch import Tensor

CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def in_chunks(compute: Callable[[Tensor, Tensor | None], Tensor], x: Tensor, size: int) -> Tensor:
    """Return what `compute` returns for x, called with `size` images at a time, and with memory for their outputs.

    The result is contiguous if x is, as in torch: a model may take a view of what a convolution returns.
    """
    chunks = x.split(size)
    first = compute(chunks[0], None)
    if len(chunks) == 1 or torch.is_grad_enabled():
        out = first if len(chunks) == 1 else torch.cat([first, *(compute(chunk, None) for chunk in chunks[1:])])
        return out.contiguous() if x.is_contiguous() else out
    layout = torch.contiguous_format if x.is_contiguous() else CHANNELS_LAST.get(first.ndim, torch.contiguous_format)
    shape = (len(x), *first.shape[1:])
    out = torch.empty(shape, dtype=first.dtype, device=first.device, memory_format=layout)
    places = out.split(size)
    places[0].copy_(first)
    for place, chunk in zip(places[1:], chunks[1:], strict=True):
        compute(chunk, place)
    return out
