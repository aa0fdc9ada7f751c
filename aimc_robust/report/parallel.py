"""The parts of a report made side by side."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from aimc_robust.parallel.cores import available_cpus
from aimc_robust.parallel.process_pool import ordered_map

Result = TypeVar("Result")


def run_parallel(parts: Sequence[Callable[[], Result]]) -> list[Result]:
    """What each part returns, in their order; on Linux in a process for each core.

    Forked processes have all that a part is made from; elsewhere they would import and read it again.
    """
    jobs = min(len(available_cpus()), len(parts)) if sys.platform == "linux" else None
    return list(ordered_map(lambda number: parts[number](), range(len(parts)), jobs=jobs))
