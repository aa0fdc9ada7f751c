"""Run a comparison and write its report; return at once if both are complete and up to date.

Importing this file does not import torch, so a finished comparison is recognized in a moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from aimc_robust.experiments.results.completion import read_marker, spec_digest, write_marker
from aimc_robust.report.freshness import report_is_current

if TYPE_CHECKING:
    from aimc_robust.experiments.callbacks.progress import ExperimentProgress
    from aimc_robust.experiments.execution.engines.base import Engine
    from aimc_robust.training.fabric import Machine


@dataclass(frozen=True)
class ReportedComparison:
    """A comparison that has a report.

    Attributes:
        report: Path of report.html.
        failed: Names of the trials that failed.
    """

    report: Path
    failed: list[str]


@dataclass(frozen=True, kw_only=True)
class ComparisonRun:
    """A spec file, the variant of it to run, and where results go.

    Attributes:
        spec: The spec, a TOML file.
        folder: The results folder.
        scale: Name of a scale of the spec; None: the full one.
        overrides: Overrides KEY=VALUE of the spec.
        model_cache: Folder of trained models that several comparisons share.
    """

    spec: Path
    folder: Path
    scale: str | None = None
    overrides: tuple[str, ...] = ()
    model_cache: Path | None = None

    def finished(self) -> ReportedComparison | None:
        """Return the comparison if every trial has finished or failed and the report is up to date; else None.

        Raises:
            InputError: If the spec cannot be read or has an invalid override.
        """
        failed = read_marker(self.folder, self._digest)
        if failed is None or not report_is_current(self.folder):
            return None
        return ReportedComparison(self.folder / "report.html", failed)

    def run(
        self,
        *,
        progress: ExperimentProgress,
        machine: Machine,
        engine: Engine,
        part: tuple[int, int] = (1, 1),
        retry_failed: bool = False,
        tensorboard: bool = False,
    ) -> ReportedComparison:
        """Run the unfinished trials, and write the report unless it is up to date.

        Args:
            progress: Callbacks.
            machine: Devices and processes that train one model. Only the first process writes.
            engine: Where trials run.
            part: (i, n) runs the i-th of n parts of the trials.
            retry_failed: Run failed trials again.
            tensorboard: Write histories and accuracies for TensorBoard too.

        Returns:
            The comparison. In processes other than the first, `failed` is empty.

        Raises:
            AimcError: As `aimc_robust.experiments.compare.compare`.
        """
        from aimc_robust.experiments.compare import compare
        from aimc_robust.experiments.results.comparison import ComparisonResults
        from aimc_robust.experiments.spec.inheritance import resolved_toml
        from aimc_robust.experiments.spec.loading import load_spec
        from aimc_robust.report.write import write_report

        digest = self._digest  # of the files as they are now: they may change during the run
        spec = load_spec(self.spec, scale=self.scale, overrides=self.overrides)
        if tensorboard and machine.is_first:
            from aimc_robust.experiments.callbacks.progress import ProgressGroup
            from aimc_robust.experiments.callbacks.tensorboard import TensorBoard

            events = TensorBoard(ComparisonResults(self.folder, spec), model_cache=self.model_cache)
            progress = ProgressGroup([progress, events])
        outcome = compare(
            spec,
            self.folder,
            spec_text=resolved_toml(self.spec, scale=self.scale, overrides=self.overrides),
            data_folder=self.spec.parent,
            model_cache=self.model_cache,
            progress=progress,
            machine=machine,
            engine=engine,
            part=part,
            retry_failed=retry_failed,
        )
        report = self.folder / "report.html"
        if not machine.is_first:
            return ReportedComparison(report, [])
        if not report_is_current(self.folder):
            write_report(self.folder)
        failed = [str(trial) for trial in outcome.failed]
        if outcome.complete:
            write_marker(self.folder, digest, failed)
        return ReportedComparison(report, failed)

    @cached_property
    def _digest(self) -> str:
        return spec_digest(self.spec, scale=self.scale, overrides=self.overrides)
