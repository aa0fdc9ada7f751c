"""Parameters that FSDP2 (`torch.distributed.fsdp.fully_shard`) splits over processes: whole values in, shards out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def is_sharded(model: nn.Module) -> bool:
    """Whether `fully_shard` was applied to the whole model, not only to parts of it."""
    return has_base(model, "FSDPModule")


def has_base(module: nn.Module, name: str) -> bool:
    """Whether a module is an instance of a class by its name; importing torch's classes of FSDP is slow."""
    return name in {base.__name__ for base in type(module).__mro__}


def is_shard(value: Tensor) -> bool:
    """Whether a tensor is a DTensor, of which each process has a part."""
    return type(value).__name__ == "DTensor"


def whole(value: Tensor) -> Tensor:
    """Return all values of a tensor. For a DTensor, every process must call it; then each has all values."""
    return value.detach().full_tensor() if is_shard(value) else value  # type: ignore[attr-defined]  # of DTensor


@torch.no_grad()
def local_part(value: Tensor) -> Tensor:
    """Return this process's part of a DTensor, and any other tensor as it is."""
    return value.to_local() if is_shard(value) else value  # type: ignore[attr-defined]  # of DTensor


@torch.no_grad()
def write(parameter: Tensor, values: Tensor) -> None:
    """Copy whole values, which every process has, into a parameter; into this process's part of a DTensor."""
    if is_shard(parameter):
        from torch.distributed.tensor import distribute_tensor

        sharded: Any = parameter
        # src_data_rank=None: each process takes its part of its own values, without messages.
        values = distribute_tensor(values, sharded.device_mesh, sharded.placements, src_data_rank=None)
    parameter.copy_(values)


def reshard(model: nn.Module) -> None:
    """Have a sharded model gather its weights anew in the next pass.

    FSDP2 keeps gathered weights after some passes (those of the root, after a forward pass alone), and would not see a
    change of the shards.
    """
    if is_sharded(model):
        for module in model.modules():
            if is_sharded(module):
                module.reshard()  # type: ignore[operator]  # of FSDPModule


@contextmanager
def resharded(model: nn.Module) -> Iterator[None]:
    """Context manager that changes the weights of `model`: passes before, in and after it gather their own."""
    reshard(model)
    try:
        yield
    finally:
        reshard(model)
