"""Data-parallel workers: who this process is, and what it shares with the others. One process alone is a world of 1."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel


def world() -> tuple[int, int]:
    """(rank of this process, number of processes)."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def without_sync(model: nn.Module) -> AbstractContextManager[None]:
    """Inside, backward passes through `model` keep their gradients to this process (DDP's `no_sync`)."""
    wrapper = next((m for m in model.modules() if isinstance(m, DistributedDataParallel)), None)
    return nullcontext() if wrapper is None else wrapper.no_sync()


@torch.no_grad()
def mean_over_workers(tensors: Sequence[Tensor | None]) -> None:
    """Average each tensor over all workers, in place. None, the same on every worker, is left out."""
    _, size = world()
    if size == 1:
        return
    for tensor in tensors:
        if tensor is not None:
            distributed.all_reduce(tensor)
            tensor.div_(size)


@torch.no_grad()
def share_buffers(model: nn.Module, *, source: int) -> None:
    """Give every worker the buffers (BatchNorm statistics) of worker `source`."""
    if world()[1] > 1:
        for buffer in model.buffers():
            distributed.broadcast(buffer, source)
