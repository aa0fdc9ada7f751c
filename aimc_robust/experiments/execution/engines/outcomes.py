"""What came of trials that other processes run: finished, failed, died there, or raised what nobody recorded."""

from __future__ import annotations

import pickle
import signal
import traceback
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aimc_robust.errors import AimcError
from aimc_robust.experiments.callbacks.comparison import ComparisonProgress
from aimc_robust.experiments.execution.engines.base import RunTrial
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.parallel.process_pool import WorkerError

if TYPE_CHECKING:
    from aimc_robust.experiments.execution.trial_runner import RunContext

RETRIES = 2  # times that a trial is started again after its process died
# Trials that raise before no further one begins. One is a trial's own trouble; a full disk or a broken GPU fails every
# trial that it gets within seconds, and would empty the queue.
MAX_ERRORS = 3

Attempt = tuple[str | None, Exception | None]  # why the trial failed, or what it raised


@dataclass
class OutcomeTracker:
    """Keeps outcomes, and decides whether a trial is tried again and whether further ones begin."""

    work: RunContext
    progress: ComparisonProgress
    retries: int
    outcomes: dict[Trial, str | None] = field(default_factory=dict)
    deaths: Counter[Trial] = field(default_factory=Counter)
    errors: list[Exception] = field(default_factory=list)

    @property
    def accepts_more(self) -> bool:
        """Whether further trials may begin."""
        return len(self.errors) < MAX_ERRORS

    def record(self, trial: Trial, attempt: Attempt) -> None:
        """A trial has come to its end. What it raised is told now, and raised by `closed`."""
        reason, error = attempt
        if error is None:
            self.outcomes[trial] = reason
        else:
            self.errors.append(error)
            self.progress.failed(trial, str(error))

    def should_retry(self, trial: Trial, how: str) -> bool:
        """Whether to begin the trial again after its process died; if not, it is recorded as failed."""
        self.deaths[trial] += 1
        if self.deaths[trial] <= self.retries:
            return True
        times = f"{self.deaths[trial]} times, the last time" if self.deaths[trial] > 1 else "once,"
        reason = f"its process died {times} {how}"
        store = ComparisonResults.open(self.work.folder)
        store.run_folder(trial).mkdir(parents=True, exist_ok=True)  # it may have died before anything else
        store.record_failure(trial, reason)
        self.progress.failed(trial, reason)
        self.outcomes[trial] = reason
        return False

    def results(self, trials: list[Trial]) -> dict[Trial, str | None]:
        """The outcomes in the order of `trials`. Raises the first error that a trial raised, if one did."""
        if self.errors:
            first, *others = self.errors
            for error in others:
                first.add_note(f"another trial raised {type(error).__name__}: {error}")
            raise first
        return {trial: self.outcomes[trial] for trial in trials}


def attempt(run_trial: RunTrial, work: RunContext, trial: Trial, progress: ComparisonProgress) -> Attempt:
    """Run a trial; what it raises is returned, in a form that another process can read."""
    try:
        return run_trial(work, trial, progress), None
    except Exception as error:
        return None, _sendable(trial, error)


def _sendable(trial: Trial, error: Exception) -> Exception:
    """`error` if it is one sentence for the user that survives the way; otherwise a WorkerError that tells it."""
    trace = f"in another process:\n{''.join(traceback.format_exception(error))}"
    if isinstance(error, AimcError | OSError):
        error.add_note(trace)
        with suppress(Exception):  # whatever an exception's own constructor raises
            return pickle.loads(pickle.dumps(error))
    told = WorkerError(f"{trial}: {type(error).__name__}: {error}; what is done is kept, and the same command goes on.")
    told.add_note(trace)
    return told


def describe_exit(exit_code: int) -> str:
    """How a process ended, in words, from its exit code: minus the signal's number, as in `multiprocessing`."""
    if exit_code >= 0:
        return f"with exit code {exit_code}"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:  # a real-time signal
        name = f"signal {-exit_code}"
    return f"by {name}" + (", perhaps for want of memory" if name == "SIGKILL" else "")
