"""Track the outcomes of trials that run in other processes: finished, failed, process died, or error raised."""

from __future__ import annotations

import signal
import traceback
from collections import Counter
from dataclasses import dataclass, field

from aimc_robust.errors import AimcError, exits_as_errors
from aimc_robust.experiments.callbacks.progress import ExperimentProgress
from aimc_robust.experiments.execution.engines.base import RunTrial
from aimc_robust.experiments.execution.trial_runner import RunContext
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.parallel.process_pool import WorkerError, can_be_pickled

RETRIES = 2  # restarts of a trial whose process died
# Trials that raise an error before no further one starts. One error concerns its trial only; a full disk or a broken
# GPU fails every trial within seconds, and would empty the queue.
MAX_ERRORS = 3

Attempt = tuple[str | None, Exception | None]
"""(why the trial failed, or None; the error that it raised, or None)."""


@dataclass
class OutcomeTracker:
    """Collect outcomes, and decide whether a trial is retried and whether further ones start."""

    context: RunContext
    progress: ExperimentProgress
    retries: int  # of a trial whose process died
    outcomes: dict[Trial, str | None] = field(default_factory=dict)  # why a trial failed, or None
    deaths: Counter[Trial] = field(default_factory=Counter)
    errors: list[Exception] = field(default_factory=list)

    @property
    def accepts_more(self) -> bool:
        """Whether further trials may start."""
        return len(self.errors) < MAX_ERRORS

    def record(self, trial: Trial, attempt: Attempt) -> None:
        """Record the end of a trial. An error is reported now, and raised by `results`."""
        reason, error = attempt
        if error is None:
            self.outcomes[trial] = reason
        else:
            self.errors.append(error)
            self.progress.failed(trial, str(error))

    def should_retry(self, trial: Trial, death: str) -> bool:
        """Count a death of the trial's process, and return whether to start it again.

        If not, the trial is recorded as failed. `death` says how the process ended, such as "by SIGKILL".
        """
        self.deaths[trial] += 1
        if self.deaths[trial] <= self.retries:
            return True
        times = f"{self.deaths[trial]} times, the last time" if self.deaths[trial] > 1 else "once,"
        reason = f"its process died {times} {death}"
        ComparisonResults.open(self.context.folder).record_failure(trial, reason)
        self.progress.failed(trial, reason)
        self.outcomes[trial] = reason
        return False

    def results(self, trials: list[Trial]) -> dict[Trial, str | None]:
        """Return the outcomes in the order of `trials`. Raises the first error that a trial raised, if any."""
        if self.errors:
            first, *others = self.errors
            for error in others:
                first.add_note(f"another trial raised {type(error).__name__}: {error}")
            raise first
        return {trial: self.outcomes[trial] for trial in trials}


def attempt(run_trial: RunTrial, context: RunContext, trial: Trial, progress: ExperimentProgress) -> Attempt:
    """Run a trial; an error that it raises is returned in a form that can be sent to another process."""
    try:
        with exits_as_errors():
            return run_trial(context, trial, progress), None
    except Exception as error:
        return None, _sendable(trial, error)


def _sendable(trial: Trial, error: Exception) -> Exception:
    """Return `error` if it addresses the user and can be pickled, else a WorkerError with its text."""
    trace = f"in another process:\n{''.join(traceback.format_exception(error))}"
    if not isinstance(error, AimcError | OSError) or not can_be_pickled(error):
        error = WorkerError(
            f"{trial}: {type(error).__name__}: {error}; finished work is kept, and the same command continues."
        )
    error.add_note(trace)
    return error


def describe_exit(exit_code: int) -> str:
    """Return how a process ended as text; `exit_code` is minus the number of the signal that ended it."""
    if exit_code >= 0:
        return f"with exit code {exit_code}"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:  # a real-time signal
        name = f"signal {-exit_code}"
    return f"by {name}" + (", perhaps out of memory" if name == "SIGKILL" else "")
