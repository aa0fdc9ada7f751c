"""Protocol of an execution engine: schedule trials, forward their progress, return one outcome per trial."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from aimc_robust.errors import InputError
from aimc_robust.experiments.callbacks.progress import ExperimentProgress
from aimc_robust.experiments.execution.trial_runner import RunContext
from aimc_robust.experiments.results.trial import Trial

RunTrial = Callable[[RunContext, Trial, ExperimentProgress], str | None]
"""Trains and evaluates one trial, skipping what is done; returns why it failed, or None."""


class Engine(Protocol):
    """Runs the trials of one comparison."""

    @property
    def threads(self) -> int | None:
        """Threads of torch per trial; None: as many as this process has."""
        ...

    def run(self, context: RunContext, trials: list[Trial], progress: ExperimentProgress) -> dict[Trial, str | None]:
        """Run trials in this order, store their rows and models in `context.folder`.

        Returns:
            Trial -> why it failed, or None, in the order of `trials`.
        """
        ...


def require_one_process(context: RunContext) -> None:
    """Raise InputError if a training would be divided among processes, which only the serial engine does."""
    if context.machine.processes > 1:
        raise InputError(
            f"trials that run at the same time train in one process each, got {context.machine.processes}; use either "
            "several devices per model or several trials at a time, not both."
        )
