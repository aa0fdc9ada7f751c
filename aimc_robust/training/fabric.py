"""Where a training runs: devices, nodes and processes, through Lightning Fabric.

Fabric is imported when it is needed: it takes seconds, which a command that trains nothing should not spend.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import torch

from aimc_robust.errors import InputError, require_whole
from aimc_robust.training.methods.distributed import world

if TYPE_CHECKING:
    from lightning_fabric import Fabric

# Set by Fabric's own launcher (LOCAL_RANK, NODE_RANK), torchrun (RANK) and SLURM (SLURM_PROCID).
RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID")
WAITING = timedelta(days=2)  # one process evaluates the chips while the others wait for it


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What a training may use: devices x nodes processes, each with a device of its own.

    More than one process trains data-parallel (DDP). accelerator: `cpu`, `gpu`, ..., or `auto`, the best there is.
    strategy: one of Fabric's that keep the whole model in each process.
    """

    devices: int = 1
    nodes: int = 1
    accelerator: str = "auto"
    strategy: str = "auto"

    def __post_init__(self) -> None:
        require_whole("devices", self.devices, low=1)
        require_whole("nodes", self.nodes, low=1)

    @property
    def processes(self) -> int:
        """How many processes work together."""
        return self.devices * self.nodes

    @property
    def device_name(self) -> str:
        """What it computes on, as reports name it."""
        accelerator = None if self.accelerator == "cpu" else torch.accelerator.current_accelerator(check_available=True)
        if accelerator is None:
            return "cpu"
        return torch.cuda.get_device_name() if accelerator.type == "cuda" else accelerator.type

    @property
    def is_first(self) -> bool:
        """Whether this process is the first of them, which reads, writes and speaks."""
        return self.processes == 1 or all(os.environ.get(name, "0") == "0" for name in RANKS)

    def fabric(self, precision: str) -> Fabric:
        """A launched Fabric. Started alone, it starts the other processes of its node by the same command.

        torchrun or SLURM may start them instead. Raises InputError for what this machine or Fabric does not have.
        """
        from lightning_fabric import Fabric
        from lightning_fabric.strategies import DDPStrategy

        strategy = self.strategy
        if strategy in ("auto", "ddp") and self.processes > 1:
            # BatchNorm statistics are shared once an epoch (`loop`), not before every forward pass.
            strategy = DDPStrategy(broadcast_buffers=False, timeout=WAITING)
        try:
            fabric = Fabric(
                accelerator=self.accelerator,
                devices=self.devices,
                num_nodes=self.nodes,
                strategy=strategy,
                precision=precision,
            )
            fabric.launch()
        except (ValueError, RuntimeError, TypeError, ImportError) as error:
            raise InputError(
                f"cannot train on {self.devices} device(s) of kind {self.accelerator!r} in {self.nodes} node(s) with "
                f"strategy {self.strategy!r}: {error}"
            ) from None
        return fabric


def fabric_for(device: torch.device, precision: str) -> Fabric:
    """One process on the device that the model is on."""
    kind = {"cpu": "cpu", "cuda": "cuda", "mps": "mps"}.get(device.type)
    if kind is None:
        raise InputError(f"the model is on {device}; move it to a CPU, CUDA or MPS device before training.")
    from lightning_fabric import Fabric

    return Fabric(accelerator=kind, devices=1 if device.index is None else [device.index], precision=precision)


def check_fabric(fabric: Fabric, precision: str, batch_size: int, parts: int) -> None:
    """Raise InputError unless `fabric` can run this recipe. parts: in how many a batch is shared out."""
    from lightning_fabric.strategies import DDPStrategy, SingleDeviceStrategy

    if not isinstance(fabric.strategy, DDPStrategy | SingleDeviceStrategy):
        raise InputError(
            f"the strategy {type(fabric.strategy).__name__} cuts the model up, and a perturbation needs whole weights; "
            "use `auto` or `ddp`."
        )
    if fabric.world_size != world()[1]:
        raise InputError(
            f"{world()[1]} processes work together and this training knows of {fabric.world_size}; pass "
            "train(..., fabric=Machine(devices=...).fabric(precision)), and one folder that all of them see."
        )
    found = fabric.strategy.precision.precision
    if found != precision:
        raise InputError(f"the recipe has precision {precision}, the Fabric was made with {found}; make them equal.")
    check_shares(batch_size, parts)


def check_shares(batch_size: int, parts: int) -> None:
    """Raise InputError unless a batch can be shared out evenly."""
    if batch_size % parts:
        raise InputError(
            f"a batch of {batch_size} cannot be shared out evenly among {parts} processes; take a multiple of {parts}."
        )
