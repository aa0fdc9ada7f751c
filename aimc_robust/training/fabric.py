"""Devices, nodes and processes of a training, through Lightning Fabric.

Fabric is imported only when used: the import takes seconds, which commands without training should not spend.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import torch

from aimc_robust.errors import InputError, names_arguments, require_type, require_whole
from aimc_robust.training.config import Precision
from aimc_robust.training.methods.distributed import world

if TYPE_CHECKING:
    from lightning_fabric import Fabric

# Set by Fabric's own launcher (LOCAL_RANK, NODE_RANK), torchrun (RANK) and SLURM (SLURM_PROCID).
RANK_VARIABLES = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID")
PROCESS_GROUP_TIMEOUT = timedelta(days=2)  # one process evaluates the chips while the others wait for it


@names_arguments
@dataclass(frozen=True, kw_only=True)
class Machine:
    """Compute resources of a training: devices x nodes processes, one device each.

    More than one process trains data-parallel (DDP).

    Args:
        devices: Devices per node.
        nodes: Number of nodes.
        accelerator: `cpu`, `gpu`, ..., or `auto` for the best available.
        strategy: A strategy of Fabric that keeps the whole model in each process.
    """

    devices: int = 1
    nodes: int = 1
    accelerator: str = "auto"
    strategy: str = "auto"

    def __post_init__(self) -> None:
        require_whole("devices", self.devices, low=1)
        require_whole("nodes", self.nodes, low=1)
        require_type("accelerator", self.accelerator, str, example="text, such as 'cpu' or 'auto'")
        require_type("strategy", self.strategy, str, example="text, such as 'ddp' or 'auto'")

    @classmethod
    def for_evaluation(cls, accelerator: str, jobs: int | None) -> Machine:
        """Return one device; `auto` is the CPU where processes are asked for, and instead of MPS (no float64)."""
        machine = cls(accelerator=accelerator)
        needs_cpu = accelerator == "auto" and (jobs is not None or machine.device.type == "mps")
        return cls(accelerator="cpu") if needs_cpu else machine

    @property
    def processes(self) -> int:
        """Number of processes on all nodes."""
        return self.devices * self.nodes

    @property
    def device(self) -> torch.device:
        """Device of the models of this process; InputError if the machine has none of the accelerator's kind."""
        if self.accelerator == "cpu":
            return torch.device("cpu")
        found = torch.accelerator.current_accelerator(check_available=True)
        if self.accelerator != "auto" and (found is None or self.accelerator not in ("gpu", found.type)):
            raise InputError(
                f"expected an accelerator of the kind {self.accelerator!r}, but this machine has "
                f"{'none' if found is None else found.type}; use auto or cpu."
            )
        return found or torch.device("cpu")

    @property
    def device_name(self) -> str:
        """Name of the device for reports, such as `cpu` or the GPU's model."""
        return torch.cuda.get_device_name() if self.device.type == "cuda" else self.device.type

    def check_jobs(self, jobs: int | None) -> None:
        """Raise InputError if `jobs` asks for processes and the device, which they cannot share, is no CPU."""
        if jobs is not None and self.device.type != "cpu":
            raise InputError(
                f"jobs are processes on the CPU, but the accelerator is {self.device}; omit jobs, or use cpu."
            )

    @property
    def is_first(self) -> bool:
        """Whether this process is the first one, which reads and writes files and prints."""
        return self.processes == 1 or all(os.environ.get(name, "0") == "0" for name in RANK_VARIABLES)

    def fabric(self, precision: Precision) -> Fabric:
        """Return a launched Fabric.

        A process started alone starts the other processes of its node with the same command, unless torchrun or SLURM
        has started them.
        """
        from aimc_robust.training.fabric_import import DDPStrategy, Fabric

        strategy: str | DDPStrategy = self.strategy
        if strategy in ("auto", "ddp") and self.processes > 1:
            # BatchNorm statistics are shared once per epoch (see `loop`), not before every forward pass.
            strategy = DDPStrategy(broadcast_buffers=False, timeout=PROCESS_GROUP_TIMEOUT)
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


CPU = Machine(accelerator="cpu")


def single_device_fabric(device: torch.device, precision: Precision) -> Fabric:
    """Return a Fabric of one process on the given device; raise InputError if it is no CPU, CUDA or MPS device."""
    if device.type not in ("cpu", "cuda", "mps"):
        raise InputError(f"the model is on {device}; move it to a CPU, CUDA or MPS device before training.")
    from aimc_robust.training.fabric_import import Fabric

    devices = 1 if device.index is None else [device.index]
    return Fabric(accelerator=device.type, devices=devices, precision=precision)


def check_fabric(fabric: Fabric, precision: Precision, batch_size: int, shards: int) -> None:
    """Raise InputError if the Fabric's strategy, processes or precision, or the shards of a batch, do not match."""
    from aimc_robust.training.fabric_import import DDPStrategy, Fabric, SingleDeviceStrategy

    require_type("fabric", fabric, Fabric, example="a launched Fabric, such as Machine(devices=2).fabric('32-true')")
    if not isinstance(fabric.strategy, DDPStrategy | SingleDeviceStrategy):
        raise InputError(
            f"the strategy {type(fabric.strategy).__name__} splits the model, but `train` and its checkpoints "
            "have whole weights; use `auto` or `ddp`, or, for fully_shard, method.backward in another loop."
        )
    if fabric.world_size != world()[1]:
        raise InputError(
            f"the process group has {world()[1]} processes, the Fabric of this training {fabric.world_size}; pass "
            "train(..., fabric=Machine(devices=...).fabric(precision)), and one folder that all processes can see."
        )
    fabric_precision = fabric.strategy.precision.precision
    if fabric_precision != precision:
        raise InputError(
            f"the training settings have precision {precision}, the Fabric has {fabric_precision}; make them equal."
        )
    check_even_split(batch_size, shards)


def check_even_split(batch_size: int, shards: int) -> None:
    """Raise InputError unless a batch can be split evenly into `shards`."""
    if batch_size % shards:
        raise InputError(
            f"a batch of {batch_size} cannot be split evenly over {shards} processes; use a multiple of {shards}."
        )
