"""Data-parallel workers: rank of this process and collective operations. A single process is a world of size 1."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from aimc_robust.errors import InputError


class DataShard(NamedTuple):
    """The part of the training data that one worker reads: `shard` (from 0) of `num_shards` of every batch."""

    streams: list[int]  # shuffling streams, one for each batch of an update
    shard: int
    num_shards: int


def world() -> tuple[int, int]:
    """Return (rank of this process, number of processes)."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def without_sync(model: nn.Module, *, unless: bool = False) -> AbstractContextManager[None]:
    """Return a context in which backward passes do not average gradients over workers (DDP's `no_sync`)."""
    wrapper = next((m for m in model.modules() if isinstance(m, DistributedDataParallel)), None)
    if wrapper is None or unless:
        return nullcontext()
    if wrapper.static_graph:  # DDP records the graph in its first pass, which must then be a synchronized one
        raise InputError(
            "an update of several passes needs a DistributedDataParallel without static_graph=True; remove that option."
        )
    return wrapper.no_sync()


@torch.no_grad()
def mean_over_workers(gradients: Sequence[Tensor | None], weights: Sequence[Tensor]) -> list[Tensor | None]:
    """Return each weight's gradient averaged over all workers.

    None, for a weight that a worker does not use, counts as 0; on a single process None stays None.
    """
    _, size = world()
    if size == 1:
        return list(gradients)
    # Zeros replace None, because another worker may have used the weight. Contiguous, because layouts may differ too.
    pairs = zip(gradients, weights, strict=True)
    shared = [torch.zeros_like(w).contiguous() if g is None else g.contiguous() for g, w in pairs]
    for request in [distributed.all_reduce(gradient, async_op=True) for gradient in shared]:
        request.wait()
    return [gradient.div_(size) for gradient in shared]


@torch.no_grad()
def share_buffers(model: nn.Module, *, source: int) -> None:
    """Copy the buffers (BatchNorm statistics) of rank `source` to all workers."""
    share_tensors(list(model.buffers()), source=source)


@torch.no_grad()
def share_tensors(tensors: Sequence[Tensor], *, source: int) -> None:
    """Copy the values of rank `source` to all workers, in place."""
    if world()[1] == 1:
        return
    for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
        same_dtype = [tensor for tensor in tensors if tensor.dtype == dtype]
        flat = torch.cat([tensor.flatten() for tensor in same_dtype])  # one message is much faster than one per layer
        distributed.broadcast(flat, source)
        for tensor, values in zip(same_dtype, flat.split([tensor.numel() for tensor in same_dtype]), strict=True):
            tensor.copy_(values.view_as(tensor))


def share_text(text: str) -> str:
    """Return the text of the first worker, on every worker."""
    if world()[1] == 1:
        return text
    shared = [text]
    distributed.broadcast_object_list(shared, src=0)
    return shared[0]
