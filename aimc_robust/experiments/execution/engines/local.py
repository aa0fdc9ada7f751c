"""Several worker processes on this machine, each with its own cores and, where there are GPUs, one of them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import TYPE_CHECKING

from aimc_robust.errors import require_whole
from aimc_robust.experiments.callbacks.comparison import ComparisonProgress
from aimc_robust.experiments.execution.engines.base import RunTrial, require_one_process, run_in_process
from aimc_robust.experiments.execution.engines.cpu_gpu_allocation import ResourceAllocation, available_gpus, allocate_resources
from aimc_robust.experiments.execution.engines.local_worker import ATTEMPTED, GRACE_S, READY, TOLD, Worker
from aimc_robust.experiments.execution.engines.outcomes import RETRIES, OutcomeTracker, describe_exit
from aimc_robust.experiments.execution.engines.progress_relay import replay
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.parallel.cores import available_cpus
from aimc_robust.parallel.process_pool import WorkerError

if TYPE_CHECKING:
    from aimc_robust.experiments.execution.trial_runner import RunContext


@dataclass(frozen=True)
class LocalEngine:
    """Runs `jobs` trials at a time, in the order given.

    threads: of each trial (default: cores / jobs, at least 1). With equal threads any number of jobs leaves the same
        rows, bit for bit on a CPU. retries: how often a trial begins again in a fresh process after its process died
        (kill -9, want of memory) before it is recorded as failed; the others go on.
    """

    jobs: int
    threads: int | None = None
    retries: int = RETRIES
    run_trial: RunTrial = run_in_process

    def __post_init__(self) -> None:
        require_whole("jobs", self.jobs, low=1)
        require_whole("retries", self.retries, low=0)
        if self.threads is None:
            object.__setattr__(self, "threads", max(1, len(available_cpus()) // self.jobs))
        require_whole("threads", self.threads, low=1)

    def run(self, work: RunContext, trials: list[Trial], progress: ComparisonProgress) -> dict[Trial, str | None]:
        """See `Engine.run`.

        What a trial raises and does not record is raised here after the trials that run, and those that wait, are done;
        after the third such trial none begins that waits. Raises WorkerError when workers cannot start.
        Ends all workers when it ends, however that is.
        """
        require_one_process(work)
        # Of `jobs`, not of the trials that are left: a run that goes on computes with the threads that it had.
        given = allocate_resources(self.jobs, cores=available_cpus(), gpus=available_gpus(work.machine), threads=self.threads)
        shift = _WorkerPool(self, work, progress, deque(trials))
        try:
            for share in given[: len(trials)]:
                shift.start(share)
            while shift.workers:
                shift.listen()
        except BaseException:
            shift.end(grace_s=0.0)
            raise
        shift.end(grace_s=GRACE_S)
        return shift.book.results(trials)


class _WorkerPool:
    """The workers of one run, and the trials that wait for them."""

    def __init__(self, jobs: LocalEngine, work: RunContext, progress: ComparisonProgress, waiting: deque[Trial]) -> None:
        self.jobs, self.work, self.progress, self.waiting = jobs, work, progress, waiting
        self.book = OutcomeTracker(work, progress, jobs.retries)
        self.workers: list[Worker] = []
        self.leaving: list[Worker] = []

    def start(self, share: ResourceAllocation) -> None:
        self.workers.append(Worker(share, self.jobs.run_trial, self.work))

    def listen(self) -> None:
        """Wait until some worker has something to say or dies, and act on it."""
        wait([*(worker.pipe for worker in self.workers), *(worker.process.sentinel for worker in self.workers)])
        for worker in list(self.workers):
            died = not worker.process.is_alive()  # asked first: what it said before is then complete
            for kind, content in worker.messages():
                if kind == TOLD:
                    replay(self.progress, content)
                elif kind == READY:
                    worker.is_ready = True
                    self.assign(worker)
                elif kind == ATTEMPTED:
                    self.book.record(worker.trial, content)
                    worker.trial = None
                    # After an error its memory or GPU may be spoilt, so that the next trial is for a fresh process.
                    (self.occupy if content[1] is None else self.replace)(worker)
            if died and worker in self.workers:
                self.handle_death(worker)

    def assign(self, worker: Worker) -> None:
        """Give it the next trial, or let it go."""
        if self.waiting and self.book.accepts_more:
            worker.give(self.waiting.popleft())
        else:
            self.dismiss(worker)

    def dismiss(self, worker: Worker) -> None:
        self.workers.remove(worker)
        self.leaving.append(worker)
        worker.dismiss()

    def replace(self, worker: Worker) -> None:
        self.dismiss(worker)
        if self.waiting and self.book.accepts_more:
            self.start(worker.share)

    def handle_death(self, worker: Worker) -> None:
        """A worker has died; so has its attempt at its trial."""
        worker.process.join()
        how = describe_exit(worker.process.exitcode)
        if not worker.is_ready:
            raise WorkerError(
                f"a worker process ended {how} before its first trial; a script that starts workers needs "
                '`if __name__ == "__main__":` around its own work, and each worker the memory for an import of torch.'
            )
        if worker.trial is not None and self.book.should_retry(worker.trial, how):
            self.waiting.appendleft(worker.trial)
        self.replace(worker)

    def end(self, *, grace_s: float) -> None:
        for worker in [*self.workers, *self.leaving]:
            worker.end(grace_s=grace_s)
