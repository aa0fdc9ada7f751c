"""The processor cores that this process may use."""

import os


def available_cpus() -> list[int]:
    """Their numbers: fewer than the machine's where a container, SLURM or `taskset` has set some apart."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
