"""A worker process of `Jobs`: it takes trials from a pipe until the pipe closes, and sends back what happens."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any

from aimc_robust.experiments.execution.engines.base import RunTrial
from aimc_robust.experiments.execution.engines.cpu_gpu_allocation import ResourceAllocation
from aimc_robust.experiments.execution.engines.outcomes import attempt
from aimc_robust.experiments.execution.engines.progress_relay import ForwardingProgress
from aimc_robust.experiments.execution.forkserver import begin_imports, context
from aimc_robust.experiments.results.trial import Trial

if TYPE_CHECKING:
    from aimc_robust.experiments.execution.trial_runner import RunContext

READY, TOLD, ATTEMPTED = "ready", "told", "attempted"  # kinds of messages
GRACE_S = 10.0  # for a worker without work to leave


class Worker:
    """The parent's end. A pipe for each: a process killed while it writes would leave a shared queue locked."""

    def __init__(self, share: ResourceAllocation, run_trial: RunTrial, work: RunContext) -> None:
        self.share = share
        self.trial: Trial | None = None
        self.is_ready = False
        self.pipe, theirs = context.Pipe()
        args = (theirs, dict(os.environ), share, run_trial, work)
        # Not a daemon: a trial may start processes of its own, such as those of a DataLoader.
        self.process: BaseProcess = context.Process(target=_serve, args=args, name="aimc-robust worker")
        begin_imports()
        self.process.start()
        theirs.close()

    def give(self, trial: Trial) -> None:
        """Have it run a trial. If it has died meanwhile, that counts as a death in the trial."""
        self.trial = trial
        try:
            self.pipe.send(trial)
        except OSError:
            self.process.join()

    def messages(self) -> list[tuple[str, Any]]:
        """(kind, content) of what has arrived. A message that its death cut short is lost."""
        found = []
        try:
            while self.pipe.poll():
                found.append(self.pipe.recv())
        except (EOFError, OSError):
            pass
        return found

    def dismiss(self) -> None:
        """Let it end after what it does."""
        self.pipe.close()

    def end(self, *, grace_s: float) -> None:
        """End it: at once, or after the time that it may still take."""
        self.process.join(grace_s)
        self.process.kill()
        self.process.join()


def _serve(
    pipe: Connection, environ: dict[str, str], share: ResourceAllocation, run_trial: RunTrial, work: RunContext
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which then ends this process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.clear()  # the server's, as it was when the server began
    os.environ.update(environ)
    share.apply()
    relay = ForwardingProgress(lambda call: pipe.send((TOLD, call)))
    pipe.send((READY, None))
    while True:
        try:
            trial = pipe.recv()
        except EOFError:  # dismissed
            return
        pipe.send((ATTEMPTED, attempt(run_trial, work, trial, relay)))


def _end_with_parent() -> None:
    """However the parent ends, also by a signal that nobody can catch."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
