"""Protocol of an execution engine: schedule trials, forward their progress, return one outcome per trial."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from aimc_robust.errors import InputError
from aimc_robust.experiments.callbacks.progress import ExperimentProgress
from aimc_robust.experiments.results.trial import Trial

if TYPE_CHECKING:
    from aimc_robust.experiments.execution.run_context import RunContext

RunTrial = Callable[["RunContext", Trial, ExperimentProgress], str | None]
"""Trains and evaluates one trial, skipping what is done; returns why it failed, or None."""


class Engine(Protocol):
    """Runs the trials of one comparison."""

    @property
    def threads(self) -> int | None:
        """Threads of torch per trial; None: as many as this process has."""
        ...

    def run(self, context: RunContext, trials: list[Trial], progress: ExperimentProgress) -> dict[Trial, str | None]:
        """Run trials; their rows and models are stored in `context.folder`.

        Args:
            context: The comparison.
            trials: The trials, in the order in which they start.
            progress: Callbacks.

        Returns:
            Trial -> why it failed, or None, in the order of `trials`.
        """
        ...


def run_in_process(context: RunContext, trial: Trial, progress: ExperimentProgress) -> str | None:
    """Call `trial_runner.run_trial`, imported here: a process that only listens does not need torch."""
    from aimc_robust.experiments.execution.trial_runner import run_trial

    return run_trial(context, trial, progress)


def require_one_process(context: RunContext) -> None:
    """Raise InputError if a training would be divided among processes, which only the serial engine does."""
    if context.machine.processes > 1:
        raise InputError(
            f"trials that run at the same time train in one process each, got {context.machine.processes}; use either "
            "several devices per model or several trials at a time, not both."
        )
