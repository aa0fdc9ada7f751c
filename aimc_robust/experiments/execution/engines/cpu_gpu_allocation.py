"""The share of this machine that each worker process gets: cores, threads, a GPU."""

from __future__ import annotations

import os
from dataclasses import dataclass

from aimc_robust.training.fabric import Machine

AFFINITY = hasattr(os, "sched_setaffinity")  # Linux; elsewhere the system places processes


@dataclass(frozen=True)
class ResourceAllocation:
    """cores: numbers of the cores it may run on. gpu: as CUDA_VISIBLE_DEVICES names it; None: all that there are."""

    cores: tuple[int, ...]
    threads: int
    gpu: str | None = None

    def apply(self) -> None:
        """Keep this process to its share. To be called before it computes: CUDA looks at its devices once."""
        import torch

        if AFFINITY:
            os.sched_setaffinity(0, self.cores)
        if self.gpu is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = self.gpu
        torch.set_num_threads(self.threads)


def available_gpus(machine: Machine) -> list[str]:
    """The CUDA devices that `machine` trains on, as CUDA_VISIBLE_DEVICES names them; none where it uses none."""
    import torch

    if machine.accelerator == "cpu":
        return []
    count = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",")[:count] if named else [str(number) for number in range(count)]


def allocate_resources(jobs: int, *, cores: list[int], gpus: list[str], threads: int) -> list[ResourceAllocation]:
    """`jobs` shares: neighbouring cores, none of them in two shares unless there are too few; GPUs in turn.

    threads: the same for all, since a sum's last digits depend on their number.
    """
    found = []
    for job in range(jobs):
        block = cores[job * len(cores) // jobs : (job + 1) * len(cores) // jobs] or [cores[job % len(cores)]]
        found.append(ResourceAllocation(tuple(block), threads, gpus[job % len(gpus)] if gpus else None))
    return found
