"""Parallel computation of the parts of a report."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from aimc_robust.parallel.cores import available_cpus
from aimc_robust.parallel.process_pool import ordered_map

Result = TypeVar("Result")


def run_parallel(functions: Sequence[Callable[[], Result]]) -> list[Result]:
    """Call functions, on Linux in one forked process per core, and return their results in order.

    Forked processes share the data that the functions close over; on other systems, where each process would have to
    import and read it again, the functions run in this process.

    Args:
        functions: Functions without arguments.

    Returns:
        The result of each function.
    """
    jobs = min(len(available_cpus()), len(functions)) if sys.platform == "linux" else None
    return list(ordered_map(lambda number: functions[number](), range(len(functions)), jobs=jobs))
