"""Trials as tasks on a Ray cluster, or on a local Ray where there is no cluster."""

from __future__ import annotations

import pickle
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aimc_robust.errors import ResultsError, require_finite, require_whole
from aimc_robust.experiments.callbacks.comparison import ComparisonProgress
from aimc_robust.experiments.execution.engines.base import RunTrial, require_one_process, run_in_process
from aimc_robust.experiments.execution.engines.outcomes import RETRIES, OutcomeTracker
from aimc_robust.experiments.execution.engines.progress_relay import replay
from aimc_robust.experiments.execution.engines.ray_cluster import (
    connected,
    gpus_per_trial,
    new_mailbox,
    warn_without_room,
)
from aimc_robust.experiments.execution.engines.ray_task import run_remote_trial, versions
from aimc_robust.experiments.results.trial import Trial

if TYPE_CHECKING:
    from aimc_robust.experiments.execution.trial_runner import RunContext

POLL_S = 0.5  # between looks into the mailbox


@dataclass(frozen=True, kw_only=True)
class RayEngine:
    """Runs as many trials at a time as the cluster has room for, in the order given.

    address: of the cluster, as `ray.init` takes it. None: what RAY_ADDRESS names, or else the cluster that runs on this
        machine, or else a local Ray, started here and ended with the run.
    cpus: cores, and so torch threads, of each trial; rows are those of any other engine with so many threads.
    gpus: of each trial, a part of one allowed (default: one where the cluster has any, unless the accelerator is `cpu`).
    retries: how often a trial begins again after its process or node died before it is recorded as failed; the others
        go on.
    """

    address: str | None = None
    cpus: int = 1
    gpus: float | None = None
    retries: int = RETRIES
    run_trial: RunTrial = run_in_process

    def __post_init__(self) -> None:
        require_whole("cpus", self.cpus, low=1)
        require_whole("retries", self.retries, low=0)
        if self.gpus is not None:
            require_finite("gpus", self.gpus)

    @property
    def threads(self) -> int:
        """Of each trial."""
        return self.cpus

    def run(self, work: RunContext, trials: list[Trial], progress: ComparisonProgress) -> dict[Trial, str | None]:
        """See `Engine.run`. All nodes must see `work.folder` at the same path.

        What a trial raises and does not record is raised here after the trials that run, and those that wait, are done;
        after the third such trial none begins that waits. Raises ResultsError at once when a node does not see the
        folder or has other versions; InputError when no cluster answers; MissingDependencyError without Ray.
        Ends all its tasks when it ends, however that is.
        """
        require_one_process(work)
        with connected(self.address), _token(work.folder) as token:
            import ray

            run = _Run(self, work, progress, token)
            try:
                for trial in trials:  # all, so that a cluster that grows with its load sees them
                    run.begin(trial)
                while run.running:
                    run.listen()
            finally:
                for reference in run.running:
                    ray.cancel(reference, force=True)
        return run.book.results(trials)


class _Run:
    """The tasks of one run."""

    def __init__(self, engine: RayEngine, work: RunContext, progress: ComparisonProgress, token: str) -> None:
        import ray

        accelerator = work.machine.accelerator
        gpus = gpus_per_trial(engine.gpus, accelerator=accelerator)
        if not gpus and accelerator == "auto":  # not the GPU that another task has
            work = replace(work, machine=replace(work.machine, accelerator="cpu"))
        warn_without_room(cpus=engine.cpus, gpus=gpus)
        self.engine, self.work, self.progress = engine, work, progress
        self.book = OutcomeTracker(work, progress, engine.retries)
        self.running: dict[Any, Trial] = {}  # of a task's reference
        self.mailbox = new_mailbox()
        self.given = {"mailbox": self.mailbox, "token": token, "expected": versions(), "threads": engine.cpus}
        self.task = ray.remote(run_remote_trial)
        self.options = {
            "num_cpus": engine.cpus,
            "num_gpus": gpus,
            "scheduling_strategy": "SPREAD",
            "max_retries": 0,  # the book counts: Ray itself repeats for ever what it ends for want of memory
        }

    def begin(self, trial: Trial) -> None:
        task = self.task.options(name=str(trial), **self.options)
        self.running[task.remote(self.engine.run_trial, self.work, trial, **self.given)] = trial

    def listen(self) -> None:
        """Wait a moment for tasks to end; tell what has come, and act on it."""
        import ray

        done, _ = ray.wait(list(self.running), timeout=POLL_S)
        for call in ray.get(self.mailbox.take.remote()):
            replay(self.progress, pickle.loads(call))
        for reference in done:
            trial = self.running.pop(reference)
            how = self._death(reference)
            if how is None:
                self._ended(trial, ray.get(reference))
            elif self.book.should_retry(trial, how) and self.book.accepts_more:
                self.begin(trial)

    def _death(self, reference: Any) -> str | None:
        """How a task's process died, or None."""
        import ray
        from ray.exceptions import LocalRayletDiedError, NodeDiedError, OutOfMemoryError, WorkerCrashedError

        try:
            ray.get(reference)
        except OutOfMemoryError:
            return "for want of memory (by Ray, which keeps its node alive)"
        except (NodeDiedError, LocalRayletDiedError):
            return "with its node"
        except WorkerCrashedError:
            return "by a signal or a crash, perhaps for want of memory"
        return None

    def _ended(self, trial: Trial, found: Any) -> None:
        if isinstance(found, ResultsError):  # at once: such a node would take trial after trial
            raise found
        if found is not None:
            self.book.record(trial, found)
        if not self.book.accepts_more:
            self.mailbox.close.remote()


@contextmanager
def _token(folder: Path) -> Iterator[str]:
    """Name of a file in `folder`, as long as the block lasts: who sees it sees the folder."""
    path = folder / f".ray-{uuid.uuid4().hex}"
    path.touch()
    try:
        yield path.name
    finally:
        path.unlink(missing_ok=True)
