"""What an engine is: it runs trials somewhere, tells their progress here, and says what came of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from aimc_robust.errors import InputError
from aimc_robust.experiments.callbacks.comparison import ComparisonProgress
from aimc_robust.experiments.results.trial import Trial

if TYPE_CHECKING:
    from aimc_robust.experiments.execution.trial_runner import RunContext

# Trains and evaluates one trial as far as that is not done; returns why it failed, or None.
RunTrial = Callable[["RunContext", Trial, ComparisonProgress], str | None]


class Engine(Protocol):
    """Runs the trials of one comparison. threads: torch's, of each trial; None: as many as this process has."""

    @property
    def threads(self) -> int | None: ...

    def run(self, work: RunContext, trials: list[Trial], progress: ComparisonProgress) -> dict[Trial, str | None]:
        """Why each trial failed, or None, in the order of `trials`. Rows and models are in `work.folder`."""
        ...


def run_in_process(work: RunContext, trial: Trial, progress: ComparisonProgress) -> str | None:
    """`trials.run_trial`, imported where trials run: the process that only listens needs none of it."""
    from aimc_robust.experiments.execution.trial_runner import run_trial

    return run_trial(work, trial, progress)


def require_one_process(work: RunContext) -> None:
    """Raise InputError when each training would be shared out among processes, which is the serial engine's work."""
    if work.machine.processes > 1:
        raise InputError(
            f"trials side by side train in one process each, and {work.machine.processes} were asked for; leave out "
            "either several devices for each training, or several trials at a time."
        )
