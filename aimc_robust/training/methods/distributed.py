"""Data-parallel workers: who this process is, and what it shares with the others. One process alone is a world of 1."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from aimc_robust.errors import InputError


def world() -> tuple[int, int]:
    """(rank of this process, number of processes)."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def without_sync(model: nn.Module) -> AbstractContextManager[None]:
    """Inside, backward passes through `model` keep their gradients to this process (DDP's `no_sync`)."""
    wrapper = next((m for m in model.modules() if isinstance(m, DistributedDataParallel)), None)
    if wrapper is None:
        return nullcontext()
    if wrapper.static_graph:  # DDP learns the graph from its first pass, which must then be a synchronised one
        raise InputError(
            "an update of several passes needs a DistributedDataParallel without static_graph=True; leave it out."
        )
    return wrapper.no_sync()


@torch.no_grad()
def mean_over_workers(gradients: Sequence[Tensor | None], weights: Sequence[Tensor]) -> list[Tensor | None]:
    """The mean of each weight's gradient over all workers. None, a weight that this worker left unused, counts as 0."""
    _, size = world()
    if size == 1:
        return list(gradients)
    # Zeros stand in for None, as another worker may have used the weight. Contiguous, as layouts may differ as well.
    pairs = zip(gradients, weights, strict=True)
    shared = [torch.zeros_like(w).contiguous() if g is None else g.contiguous() for g, w in pairs]
    for message in [distributed.all_reduce(gradient, async_op=True) for gradient in shared]:
        message.wait()
    return [gradient.div_(size) for gradient in shared]


@torch.no_grad()
def share_buffers(model: nn.Module, *, source: int) -> None:
    """Give every worker the buffers (BatchNorm statistics) of worker `source`."""
    if world()[1] == 1:
        return
    buffers = list(model.buffers())
    for dtype in dict.fromkeys(buffer.dtype for buffer in buffers):
        alike = [buffer for buffer in buffers if buffer.dtype == dtype]
        message = torch.cat([buffer.flatten() for buffer in alike])  # one message is much faster than one per layer
        distributed.broadcast(message, source)
        for buffer, values in zip(alike, message.split([buffer.numel() for buffer in alike]), strict=True):
            buffer.copy_(values.view_as(buffer))
