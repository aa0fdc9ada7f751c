"""Run trials in several worker processes on this machine, each with its own cores and, if available, GPU."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from multiprocessing.connection import wait

from aimc_robust.errors import require_whole
from aimc_robust.experiments.callbacks.progress import ExperimentProgress, replay
from aimc_robust.experiments.execution.engines.base import RunTrial, require_one_process
from aimc_robust.experiments.execution.engines.cpu_gpu_allocation import (
    ResourceAllocation,
    allocate_resources,
    available_gpus,
)
from aimc_robust.experiments.execution.engines.local_worker import ATTEMPT, GRACE_S, LOST, PROGRESS, READY, Worker
from aimc_robust.experiments.execution.engines.outcomes import RETRIES, Attempt, OutcomeTracker, describe_exit
from aimc_robust.experiments.execution.trial_runner import RunContext, run_trial
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.parallel.process_pool import WorkerError, available_cpus


@dataclass(frozen=True)
class LocalEngine:
    """Runs `jobs` trials at a time, in the order given.

    With equal `threads` any number of jobs gives the same rows, bit for bit on a CPU.

    Attributes:
        jobs: Number of worker processes.
        threads: Threads of torch per trial; default: cores / jobs, at least 1.
        retries: Restarts of a trial after its process died; then it is recorded as failed, and the others continue.
        run_trial: What runs a trial.
    """

    jobs: int
    threads: int | None = None
    retries: int = RETRIES
    run_trial: RunTrial = run_trial

    def __post_init__(self) -> None:
        require_whole("jobs", self.jobs, low=1)
        require_whole("retries", self.retries, low=0)
        if self.threads is None:
            object.__setattr__(self, "threads", threads_per_job(self.jobs))
        else:
            require_whole("threads", self.threads, low=1)

    def run(self, context: RunContext, trials: list[Trial], progress: ExperimentProgress) -> dict[Trial, str | None]:
        """Run trials, see `Engine.run`.

        An error that a trial raises is raised here after all other trials are done; after the third such error no
        further trial starts. All workers end when this call ends, for whatever reason.

        Raises:
            WorkerError: if workers cannot start, or a trial raised an unexpected error.
        """
        require_one_process(context)
        assert self.threads is not None  # set by __post_init__
        # By `jobs`, not by the number of trials left: a run that continues computes with the threads that it had.
        allocations = allocate_resources(
            self.jobs, cores=available_cpus(), gpus=available_gpus(context.machine), threads=self.threads
        )
        pool = _WorkerPool(self, context, progress, deque(trials))
        try:
            for allocation in allocations[: len(trials)]:
                pool.start(allocation)
            while pool.workers:
                pool.process_messages()
        except BaseException:
            pool.end(grace_s=0.0)
            raise
        pool.end(grace_s=GRACE_S)
        return pool.tracker.results(trials)


def threads_per_job(jobs: int) -> int:
    """Return the default number of torch's threads per trial: cores / jobs, at least 1."""
    return max(1, len(available_cpus()) // jobs)


class _WorkerPool:
    """The workers of one run, and the queue of trials."""

    def __init__(
        self, engine: LocalEngine, context: RunContext, progress: ExperimentProgress, queue: deque[Trial]
    ) -> None:
        self.engine, self.context, self.progress, self.queue = engine, context, progress, queue
        self.tracker = OutcomeTracker(context, progress, engine.retries)
        self.workers: list[Worker] = []
        self.dismissed: list[Worker] = []
        self.failed_starts = 0  # since the last worker that was ready

    def start(self, allocation: ResourceAllocation) -> None:
        while True:
            try:
                self.workers.append(Worker(allocation, self.engine.run_trial, self.context))
                return
            except (EOFError, ConnectionError) as error:  # the fork server died; the next attempt starts another
                self.count_failed_start(f"with its fork server ({type(error).__name__})", can_retry=True)

    def process_messages(self) -> None:
        """Wait until a worker sends a message or dies, and act on it."""
        wait([*(worker.pipe for worker in self.workers), *(worker.process.sentinel for worker in self.workers)])
        for worker in list(self.workers):
            died = not worker.process.is_alive()  # checked first: the messages read below are then complete
            for kind, content in worker.messages():
                if kind == PROGRESS:
                    replay(self.progress, content)
                elif kind == READY:
                    worker.is_ready, self.failed_starts = True, 0
                    self.assign(worker)
                elif kind == ATTEMPT:
                    self.finish_trial(worker, content)
            if died and worker in self.workers:
                self.handle_death(worker)

    def assign(self, worker: Worker) -> None:
        """Give a worker the next trial, or dismiss it if there is none."""
        if self.queue and self.tracker.accepts_more:
            worker.assign(self.queue.popleft())
        else:
            self.dismiss(worker)

    def finish_trial(self, worker: Worker, attempt: Attempt) -> None:
        """Record the outcome of a worker's trial, and give it the next one."""
        assert worker.trial is not None
        self.tracker.record(worker.trial, attempt)
        worker.trial = None
        _, error = attempt
        if error is None:
            self.assign(worker)
        else:  # its memory or GPU may be in a bad state; the next trial runs in a fresh process
            self.dismiss(worker)
            self.start_next(worker.allocation)

    def dismiss(self, worker: Worker) -> None:
        self.workers.remove(worker)
        self.dismissed.append(worker)
        worker.dismiss()

    def start_next(self, allocation: ResourceAllocation) -> None:
        """Start a fresh worker if trials are left."""
        if self.queue and self.tracker.accepts_more:
            self.start(allocation)

    def handle_death(self, worker: Worker) -> None:
        """Replace a worker whose process died, and retry its trial or record it as failed."""
        self.workers.remove(worker)
        exit_code = worker.bury()
        death = describe_exit(exit_code)
        if not worker.is_ready:
            self.count_failed_start(death, can_retry=exit_code < 0 or exit_code == LOST)
        if worker.trial is not None and self.tracker.should_retry(worker.trial, death):
            self.queue.appendleft(worker.trial)
        self.start_next(worker.allocation)

    def count_failed_start(self, death: str, *, can_retry: bool) -> None:
        """Raise WorkerError for a worker that died before its first trial, unless another is to be tried."""
        self.failed_starts += 1
        if self.failed_starts > self.engine.retries * self.engine.jobs or not can_retry:
            raise WorkerError(
                f"a worker process ended {death} before its first trial; a script that starts workers needs "
                '`if __name__ == "__main__":` around its code, and each worker needs the memory to import torch. '
                "Finished work is kept."
            )

    def end(self, *, grace_s: float) -> None:
        for worker in [*self.workers, *self.dismissed]:
            worker.end(grace_s=grace_s)
