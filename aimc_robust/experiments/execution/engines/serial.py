"""Trial after trial in this process, with torch's own threads; so do all processes of a data-parallel training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aimc_robust.experiments.callbacks.comparison import ComparisonProgress
from aimc_robust.experiments.execution.engines.base import RunTrial, run_in_process
from aimc_robust.experiments.results.trial import Trial

if TYPE_CHECKING:
    from aimc_robust.experiments.execution.trial_runner import RunContext


@dataclass(frozen=True, kw_only=True)
class SerialEngine:
    """Runs trials in the order given. What a trial raises ends the run at once: the same process would go on."""

    run_trial: RunTrial = run_in_process

    @property
    def threads(self) -> None:
        """As many as this process has."""

    def run(self, work: RunContext, trials: list[Trial], progress: ComparisonProgress) -> dict[Trial, str | None]:
        """See `Engine.run`."""
        return {trial: self.run_trial(work, trial, progress) for trial in trials}
