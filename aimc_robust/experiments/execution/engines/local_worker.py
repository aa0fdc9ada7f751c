"""A worker process of the local engine: it receives trials through a pipe and sends back what happens."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from aimc_robust.experiments.callbacks.progress import ForwardingProgress
from aimc_robust.experiments.execution.engines.base import RunTrial
from aimc_robust.experiments.execution.engines.cpu_gpu_allocation import ResourceAllocation
from aimc_robust.experiments.execution.engines.outcomes import attempt
from aimc_robust.experiments.execution.forkserver import begin_imports, worker_context
from aimc_robust.experiments.execution.trial_runner import RunContext
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.parallel.start_method import spawns_processes

READY, PROGRESS, ATTEMPT = "ready", "progress", "attempt"  # kinds of messages
GRACE_S = 10.0  # time for an idle worker to end by itself
LOST = 255  # what multiprocessing gives as the exit code of a worker whose fork server died


class Worker:
    """The parent's end of a worker process.

    Each worker has a pipe of its own: a process that is killed while it writes would leave a shared queue locked.
    """

    def __init__(self, allocation: ResourceAllocation, run_trial: RunTrial, context: RunContext) -> None:
        self.allocation = allocation
        self.trial: Trial | None = None
        self.is_ready = False
        mp_context = worker_context()
        self.pipe, child_pipe = mp_context.Pipe()
        args = (child_pipe, dict(os.environ), allocation, run_trial, context)
        # Not a daemon: a trial may start processes of its own, such as those of a DataLoader.
        self.process: BaseProcess = mp_context.Process(target=_serve, args=args, name="aimc-robust worker")
        begin_imports()
        self.process.start()
        child_pipe.close()
        self._pid = self.process.pid

    def assign(self, trial: Trial) -> None:
        """Send it a trial. If it has died meanwhile, that counts as a death in this trial."""
        self.trial = trial
        try:
            self.pipe.send(trial)
        except OSError:
            self.process.join()

    def messages(self) -> list[tuple[str, Any]]:
        """Return (kind, content) of the messages that have arrived; one that its death cut short is lost."""
        messages: list[tuple[str, Any]] = []
        try:
            while self.pipe.poll():
                messages.append(self.pipe.recv())
        except (EOFError, OSError):
            pass
        return messages

    def bury(self) -> int:
        """Return the exit code of a process that died, once it is gone.

        If the fork server died, its workers count as dead while they still run and write. They end with the pipe that
        `_end_with_parent` waits for, which is closed here.
        """
        self.process.join()
        exit_code = self.process.exitcode
        assert exit_code is not None
        self.process.close()
        if exit_code == LOST and not spawns_processes():
            self._await_orphan()
        self.pipe.close()
        return exit_code

    def _await_orphan(self) -> None:
        try:
            while self.pipe.poll(GRACE_S):
                self.pipe.recv()
            if self._pid is not None:
                os.kill(self._pid, signal.SIGKILL)
        except (EOFError, OSError):  # no process holds the other end of the pipe
            pass

    def dismiss(self) -> None:
        """Let it end after its current trial."""
        self.pipe.close()

    def end(self, *, grace_s: float) -> None:
        """Wait `grace_s` seconds for it to end, then kill it."""
        self.process.join(grace_s)
        self.process.kill()
        self.process.join()


def _serve(
    pipe: Connection,
    environment: dict[str, str],
    allocation: ResourceAllocation,
    run_trial: RunTrial,
    context: RunContext,
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which then ends this process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.clear()  # it is the fork server's environment, from the time of its start
    os.environ.update(environment)
    allocation.apply()
    progress = ForwardingProgress(lambda call: pipe.send((PROGRESS, call)))
    pipe.send((READY, None))
    while True:
        try:
            trial = pipe.recv()
        except EOFError:  # dismissed
            return
        pipe.send((ATTEMPT, attempt(run_trial, context, trial, progress)))


def _end_with_parent() -> None:
    """End this process when the parent ends, also after a signal that cannot be caught."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
