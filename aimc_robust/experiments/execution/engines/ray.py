"""Run trials as tasks on a Ray cluster, or on a local Ray if there is no cluster."""

from __future__ import annotations

import pickle
import platform
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock

from aimc_robust import __version__
from aimc_robust.errors import ResultsError, require_finite, require_whole
from aimc_robust.experiments.callbacks.progress import Call, ExperimentProgress, ForwardingProgress, replay
from aimc_robust.experiments.execution.engines.base import RunTrial, require_one_process
from aimc_robust.experiments.execution.engines.outcomes import RETRIES, Attempt, OutcomeTracker, attempt
from aimc_robust.experiments.execution.engines.ray_cluster import (
    connect,
    create_mailbox,
    gpus_per_trial,
    warn_if_no_node_fits,
)
from aimc_robust.experiments.execution.trial_runner import RunContext, run_trial
from aimc_robust.experiments.results.files import LOCK
from aimc_robust.experiments.results.trial import Trial

POLL_S = 0.5  # between two reads of the mailbox


@dataclass(frozen=True, kw_only=True)
class RayEngine:
    """Runs as many trials at a time as the cluster has room for, in the order given.

    Attributes:
        address: Of the cluster, as `ray.init` takes it. None: the value of RAY_ADDRESS; else the cluster that runs on
            this machine; else a local Ray, started here and ended with the run.
        cpus: Cores, and threads of torch, per trial; rows equal those of any other engine with as many threads.
        gpus: GPUs per trial, fractions allowed; default: 1 if the cluster has any, unless the accelerator is `cpu`.
        retries: Restarts of a trial after its process or node died; then it is recorded as failed, and the others
            continue.
        run_trial: What runs a trial.
    """

    address: str | None = None
    cpus: int = 1
    gpus: float | None = None
    retries: int = RETRIES
    run_trial: RunTrial = run_trial

    def __post_init__(self) -> None:
        require_whole("cpus", self.cpus, low=1)
        require_whole("retries", self.retries, low=0)
        if self.gpus is not None:
            require_finite("gpus", self.gpus)

    @property
    def threads(self) -> int:
        """Threads of torch per trial."""
        return self.cpus

    def run(self, context: RunContext, trials: list[Trial], progress: ExperimentProgress) -> dict[Trial, str | None]:
        """Run trials, see `LocalEngine.run`. All nodes must see `context.folder` at the same path.

        Raises:
            ResultsError: at once, if a node does not see the folder or has other versions.
            InputError: if no cluster answers.
            MissingDependencyError: if Ray is not installed.
        """
        require_one_process(context)
        with connect(self.address), _token_file(context.folder) as token:
            import ray

            run = _RayRun(self, context, progress, token)
            try:
                for trial in trials:  # all at once, so that a cluster that grows with its load sees them
                    run.submit(trial)
                while run.running:
                    run.process_events()
            finally:
                for reference in run.running:
                    ray.cancel(reference, force=True)
        return run.tracker.results(trials)


class _RayRun:
    """The tasks of one run."""

    def __init__(self, engine: RayEngine, context: RunContext, progress: ExperimentProgress, token: str) -> None:
        import ray

        accelerator = context.machine.accelerator
        gpus = gpus_per_trial(engine.gpus, accelerator=accelerator)
        if not gpus and accelerator == "auto":  # do not use the GPU of another task
            context = replace(context, machine=replace(context.machine, accelerator="cpu"))
        warn_if_no_node_fits(cpus=engine.cpus, gpus=gpus)
        self.engine, self.context, self.progress = engine, context, progress
        self.tracker = OutcomeTracker(context, progress, engine.retries)
        self.running: dict[Any, Trial] = {}  # by the task's reference
        self.mailbox = create_mailbox()
        expected = package_versions()
        self.arguments = {"mailbox": self.mailbox, "token": token, "expected": expected, "threads": engine.cpus}
        remote: Any = ray.remote  # its type hints do not cover functions with keyword arguments
        self.task = remote(run_remote_trial)
        self.options = {
            "num_cpus": engine.cpus,
            "num_gpus": gpus,
            "scheduling_strategy": "SPREAD",
            "max_retries": 0,  # the tracker counts: Ray itself restarts a task that ran out of memory without limit
        }

    def submit(self, trial: Trial) -> None:
        task = self.task.options(name=str(trial), **self.options)
        self.running[task.remote(self.engine.run_trial, self.context, trial, **self.arguments)] = trial

    def process_events(self) -> None:
        """Wait POLL_S, or until all tasks have ended, forward progress, and act on tasks that ended."""
        import ray

        # Not one by one: each call takes time in proportion to the tasks that are left.
        ended, _ = ray.wait(list(self.running), num_returns=len(self.running), timeout=POLL_S)
        for call in ray.get(self.mailbox.take.remote()):
            replay(self.progress, pickle.loads(call))
        for reference in ended:
            trial = self.running.pop(reference)
            death = self._death(reference)
            if death is None:
                self._record(trial, ray.get(reference))
            elif self.tracker.should_retry(trial, death) and self.tracker.accepts_more:
                self.submit(trial)

    def _death(self, reference: Any) -> str | None:
        """Return how a task's process died, or None."""
        import ray
        from ray.exceptions import LocalRayletDiedError, NodeDiedError, OutOfMemoryError, WorkerCrashedError

        try:
            ray.get(reference)
        except OutOfMemoryError:
            return "out of memory (ended by Ray, which keeps its node alive)"
        except (NodeDiedError, LocalRayletDiedError):
            return "with its node"
        except WorkerCrashedError:
            return "by a signal or a crash, perhaps out of memory"
        return None

    def _record(self, trial: Trial, outcome: Any) -> None:
        if isinstance(outcome, ResultsError):  # raised at once: such a node would fail one trial after the other
            raise outcome
        if outcome is not None:
            self.tracker.record(trial, outcome)
        if not self.tracker.accepts_more:
            self.mailbox.close.remote()


@contextmanager
def _token_file(folder: Path) -> Iterator[str]:
    """Yield the name of a file that exists in `folder` inside the block: a node that sees it sees the folder."""
    path = folder / f".ray-{uuid.uuid4().hex}"
    path.touch()
    try:
        yield path.name
    finally:
        path.unlink(missing_ok=True)


def package_versions() -> dict[str, str]:
    """Return the versions that must be equal on all nodes for equal numbers; builds of torch may differ."""
    return {"aimc-robust": __version__, "torch": version("torch").partition("+")[0]}


def check_node(context: RunContext, token: str, expected: dict[str, str]) -> None:
    """Raise ResultsError unless this node sees the driver's file `token` in the folder, and has its versions."""
    node = platform.node()
    if not (context.folder / token).exists():
        raise ResultsError(
            f"node {node} does not see the results folder {context.folder} of the process that started the run; give "
            "--out a folder that all nodes share, at the same path."
        )
    versions = package_versions()
    wrong = [
        f"{name} {versions[name]} instead of {value}" for name, value in expected.items() if versions[name] != value
    ]
    if wrong:
        raise ResultsError(f"node {node} has {', '.join(wrong)}; install the same versions on all nodes.")


def run_remote_trial(
    run_trial: RunTrial,
    context: RunContext,
    trial: Trial,
    *,
    mailbox: Any,
    token: str,
    expected: dict[str, str],
    threads: int,
) -> Attempt | ResultsError | None:
    """Run one trial as a task that sends its progress to `mailbox`; for `token` and `expected` see `check_node`.

    Returns:
        The outcome; a ResultsError if this node is not suitable; None if no further trial may start.
    """
    try:
        check_node(context, token, expected)
    except ResultsError as error:
        return error
    import torch

    # Not ray.get: while a task waits in it, Ray gives its CPU to the next task, in another process.
    if mailbox.is_closed.remote().future().result():
        return None
    torch.set_num_threads(threads)
    last_call = None

    def send(call: Call) -> None:
        nonlocal last_call
        last_call = mailbox.put.remote(pickle.dumps(call))

    def run_locked(context: RunContext, trial: Trial, progress: ExperimentProgress) -> str | None:
        """Run the trial when no process works on it whose node, or whose driver, is taken for dead."""
        folder = context.folder / "runs" / str(trial)
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / LOCK):  # two writers of one checkpoint would disturb each other
            return run_trial(context, trial, progress)

    outcome = attempt(run_locked, context, trial, ForwardingProgress(send))
    if last_call is not None:
        last_call.future().result()  # all progress calls arrive before the outcome
    return outcome
