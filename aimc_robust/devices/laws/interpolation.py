"""Where values lie between the nodes of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def position(nodes: tuple[float, ...], value: Tensor) -> tuple[Tensor, Tensor]:
    """Return the index of the node below each value, and the fraction of the way to the next, 0 to 1.

    Nodes rise; two inner ones may be equal, for a step, at which the upper piece begins.
    """
    import torch

    at = value.new_tensor(nodes)
    below = torch.bucketize(value.contiguous(), at[1:-1].contiguous(), right=True)
    return below, value.sub(at[below]).div_(at[below + 1] - at[below]).clamp_(0.0, 1.0)
