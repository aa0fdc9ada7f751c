"""The process that the workers of `engines.jobs` are forked from: it has imported torch and never used it.

They are not forked from this process, since a fork inherits torch's thread pool without its threads, and a CUDA context
that does not work in it. So the imports, which take seconds, are made once for all workers and for those that replace
them. Where there is no such server (outside Linux) each worker imports for itself.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from multiprocessing import forkserver

IMPORTED = ["aimc_robust.experiments.execution.trial_runner", "lightning_fabric"]
context = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")


def begin_imports() -> None:
    """Start the server unless it runs; it imports while this process goes on."""
    if sys.platform != "linux":
        return
    context.set_forkserver_preload(IMPORTED)
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"  # no thread pools of linear algebra, which a fork of the server would lose
    try:
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before
