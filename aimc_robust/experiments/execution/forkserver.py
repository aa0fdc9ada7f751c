"""The process that workers of the local engine are forked from: it has imported torch and never used it.

Workers are not forked from this process: a fork inherits torch's thread pool without its threads, and a CUDA context
that does not work in it. With the server, the imports (some seconds) happen once for all workers and their
replacements. Where processes are spawned (see `parallel.start_method`) each worker imports for itself.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerContext, SpawnContext

from aimc_robust.parallel.start_method import spawns_processes

PRELOADED = [
    "aimc_robust.experiments.execution.fork_server_signals",
    "aimc_robust.experiments.execution.trial_runner",
    "aimc_robust.training.fabric_import",
]


def worker_context() -> ForkServerContext | SpawnContext:
    """Return the context in which workers start."""
    return multiprocessing.get_context("spawn") if spawns_processes() else multiprocessing.get_context("forkserver")


def begin_imports() -> None:
    """Start the server unless it runs; it imports in the background."""
    if spawns_processes():
        return
    forkserver.set_forkserver_preload(PRELOADED)
    resource_tracker.ensure_running()  # which the fork server would start, and with it unblock Ctrl-C
    # Ctrl-C reaches every process of a terminal; the server inherits that it is blocked until `fork_server_signals`.
    signals = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    previous = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"  # no thread pools of linear algebra, which a fork of the server would lose
    try:
        forkserver.ensure_running()
    finally:
        if previous is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = previous
        signal.pthread_sigmask(signal.SIG_SETMASK, signals)
