"""Several worker processes on this machine, each with its own cores and, where there are GPUs, one of them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import TYPE_CHECKING

from aimc_robust.errors import require_whole
from aimc_robust.experiments.callbacks.comparison import Progress
from aimc_robust.experiments.execution.engines.base import RunCell, require_one_process, run_here
from aimc_robust.experiments.execution.engines.cpu_gpu_allocation import Share, gpus_here, shares
from aimc_robust.experiments.execution.engines.local_worker import ATTEMPTED, GRACE_S, READY, TOLD, Worker
from aimc_robust.experiments.execution.engines.outcomes import RETRIES, Book, how_it_died
from aimc_robust.experiments.execution.engines.progress_relay import replay
from aimc_robust.experiments.results.trial import Cell
from aimc_robust.parallel.cores import cores_here
from aimc_robust.parallel.process_pool import WorkerError

if TYPE_CHECKING:
    from aimc_robust.experiments.execution.cell_runner import Work


@dataclass(frozen=True)
class Jobs:
    """Runs `jobs` cells at a time, in the order given.

    threads: of each cell (default: cores / jobs, at least 1). With equal threads any number of jobs leaves the same
        rows, bit for bit on a CPU. retries: how often a cell begins again in a fresh process after its process died
        (kill -9, want of memory) before it is recorded as failed; the others go on.
    """

    jobs: int
    threads: int | None = None
    retries: int = RETRIES
    run_cell: RunCell = run_here

    def __post_init__(self) -> None:
        require_whole("jobs", self.jobs, low=1)
        require_whole("retries", self.retries, low=0)
        if self.threads is None:
            object.__setattr__(self, "threads", max(1, len(cores_here()) // self.jobs))
        require_whole("threads", self.threads, low=1)

    def run(self, work: Work, cells: list[Cell], progress: Progress) -> dict[Cell, str | None]:
        """See `Engine.run`.

        What a cell raises and does not record is raised here after the cells that run, and those that wait, are done;
        after the third such cell none begins that waits. Raises WorkerError when workers cannot start.
        Ends all workers when it ends, however that is.
        """
        require_one_process(work)
        # Of `jobs`, not of the cells that are left: a run that goes on computes with the threads that it had.
        given = shares(self.jobs, cores=cores_here(), gpus=gpus_here(work.machine), threads=self.threads)
        shift = _Shift(self, work, progress, deque(cells))
        try:
            for share in given[: len(cells)]:
                shift.start(share)
            while shift.crew:
                shift.listen()
        except BaseException:
            shift.end(grace_s=0.0)
            raise
        shift.end(grace_s=GRACE_S)
        return shift.book.closed(cells)


class _Shift:
    """The workers of one run, and the cells that wait for them."""

    def __init__(self, jobs: Jobs, work: Work, progress: Progress, waiting: deque[Cell]) -> None:
        self.jobs, self.work, self.progress, self.waiting = jobs, work, progress, waiting
        self.book = Book(work, progress, jobs.retries)
        self.crew: list[Worker] = []
        self.leaving: list[Worker] = []

    def start(self, share: Share) -> None:
        self.crew.append(Worker(share, self.jobs.run_cell, self.work))

    def listen(self) -> None:
        """Wait until some worker has something to say or dies, and act on it."""
        wait([*(worker.pipe for worker in self.crew), *(worker.process.sentinel for worker in self.crew)])
        for worker in list(self.crew):
            died = not worker.process.is_alive()  # asked first: what it said before is then complete
            for kind, content in worker.messages():
                if kind == TOLD:
                    replay(self.progress, content)
                elif kind == READY:
                    worker.is_ready = True
                    self.occupy(worker)
                elif kind == ATTEMPTED:
                    self.book.attempted(worker.cell, content)
                    worker.cell = None
                    # After an error its memory or GPU may be spoilt, so that the next cell is for a fresh process.
                    (self.occupy if content[1] is None else self.replace)(worker)
            if died and worker in self.crew:
                self.bury(worker)

    def occupy(self, worker: Worker) -> None:
        """Give it the next cell, or let it go."""
        if self.waiting and self.book.is_open:
            worker.give(self.waiting.popleft())
        else:
            self.dismiss(worker)

    def dismiss(self, worker: Worker) -> None:
        self.crew.remove(worker)
        self.leaving.append(worker)
        worker.dismiss()

    def replace(self, worker: Worker) -> None:
        self.dismiss(worker)
        if self.waiting and self.book.is_open:
            self.start(worker.share)

    def bury(self, worker: Worker) -> None:
        """A worker has died; so has its attempt at its cell."""
        worker.process.join()
        how = how_it_died(worker.process.exitcode)
        if not worker.is_ready:
            raise WorkerError(
                f"a worker process ended {how} before its first cell; a script that starts workers needs "
                '`if __name__ == "__main__":` around its own work, and each worker the memory for an import of torch.'
            )
        if worker.cell is not None and self.book.died(worker.cell, how):
            self.waiting.appendleft(worker.cell)
        self.replace(worker)

    def end(self, *, grace_s: float) -> None:
        for worker in [*self.crew, *self.leaving]:
            worker.end(grace_s=grace_s)
