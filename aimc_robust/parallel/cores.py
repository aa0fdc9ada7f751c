"""CPU cores that this process may use."""

import os


def available_cpus() -> list[int]:
    """Numbers of the usable CPU cores; containers, SLURM and `taskset` may restrict them."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
