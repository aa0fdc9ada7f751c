"""Compute a layer's outputs for a few images at a time."""

from collections.abc import Callable

import torch
from torch import Tensor


def in_chunks(
    compute: Callable[[Tensor, Tensor | None], Tensor], x: Tensor, size: int, layout: torch.memory_format
) -> Tensor:
    """Return what `compute` returns for x, called with `size` images at a time, and with memory for their outputs.

    `layout` is that of the result.
    """
    chunks = x.split(size)
    first = compute(chunks[0], None)
    if len(chunks) == 1 or torch.is_grad_enabled():
        out = first if len(chunks) == 1 else torch.cat([first, *(compute(chunk, None) for chunk in chunks[1:])])
        return out.contiguous(memory_format=layout)
    shape = (len(x), *first.shape[1:])
    out = torch.empty(shape, dtype=first.dtype, device=first.device, memory_format=layout)
    places = out.split(size)
    places[0].copy_(first)
    for place, chunk in zip(places[1:], chunks[1:], strict=True):
        compute(chunk, place)
    return out
