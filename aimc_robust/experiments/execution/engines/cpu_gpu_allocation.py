"""Divide the cores and GPUs of this machine among worker processes."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

import torch

from aimc_robust.training.fabric import Machine


@dataclass(frozen=True)
class ResourceAllocation:
    """The cores, threads and GPU of one worker process."""

    cores: tuple[int, ...]  # used on Linux only
    threads: int
    gpu: str | None = None  # value of CUDA_VISIBLE_DEVICES; None: leave it as it is

    def apply(self) -> None:
        """Restrict this process. Must be called before CUDA is initialized, which reads its devices once."""
        if sys.platform == "linux":
            os.sched_setaffinity(0, self.cores)
        if self.gpu is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = self.gpu
        torch.set_num_threads(self.threads)


def available_gpus(machine: Machine) -> list[str]:
    """Return the CUDA devices that `machine` trains on, as named in CUDA_VISIBLE_DEVICES; empty if it uses none."""
    if machine.accelerator == "cpu":
        return []
    count = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",")[:count] if visible else [str(number) for number in range(count)]


def allocate_resources(jobs: int, *, cores: list[int], gpus: list[str], threads: int) -> list[ResourceAllocation]:
    """Return an allocation per job: neighbouring cores, GPUs in turn, and equally many threads of torch.

    No core is in two allocations unless there are fewer cores than jobs. The last digits of a sum depend on the number
    of threads.
    """
    allocations = []
    for job in range(jobs):
        block = cores[job * len(cores) // jobs : (job + 1) * len(cores) // jobs] or [cores[job % len(cores)]]
        allocations.append(ResourceAllocation(tuple(block), threads, gpus[job % len(gpus)] if gpus else None))
    return allocations
