"""Compute a layer's outputs for a few images at a time."""

from collections.abc import Callable

import torch
from torch import Tensor


def in_chunks(compute: Callable[[Tensor], Tensor], x: Tensor, size: int) -> Tensor:
    """Return what `compute` returns for x, called with `size` images at a time.

    The result is contiguous if x is, as in torch: a model may take a view of what a convolution returns.
    """
    chunks = x.split(size)
    first = compute(chunks[0])
    if len(chunks) == 1 or torch.is_grad_enabled() or not x.is_contiguous():
        out = first if len(chunks) == 1 else torch.cat([first, *map(compute, chunks[1:])])
        return out.contiguous() if x.is_contiguous() else out
    # Each result is copied once, to its place and into its layout.
    out = first.new_empty((len(x), *first.shape[1:]))
    places = out.split(size)
    places[0].copy_(first)
    for place, chunk in zip(places[1:], chunks[1:], strict=True):
        place.copy_(compute(chunk))
    return out
