"""Run trials one after the other in this process, with torch's own threads."""

from __future__ import annotations

from dataclasses import dataclass

from aimc_robust.errors import require_whole
from aimc_robust.experiments.callbacks.progress import ExperimentProgress
from aimc_robust.experiments.execution.engines.base import RunTrial
from aimc_robust.experiments.execution.trial_runner import RunContext, run_trial
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.parallel.process_pool import use_threads


@dataclass(frozen=True, kw_only=True)
class SerialEngine:
    """Runs trials in the order given; every process of a data-parallel training uses it.

    An error that a trial raises ends the run at once.
    """

    threads: int | None = None  # of torch; None: as many as this process has
    run_trial: RunTrial = run_trial

    def __post_init__(self) -> None:
        if self.threads is not None:
            require_whole("threads", self.threads, low=1)

    def run(self, context: RunContext, trials: list[Trial], progress: ExperimentProgress) -> dict[Trial, str | None]:
        """Run trials, see `Engine.run`."""
        with use_threads(self.threads):
            return {trial: self.run_trial(context, trial, progress) for trial in trials}
