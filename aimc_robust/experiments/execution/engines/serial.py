"""Cell after cell in this process, with torch's own threads; so do all processes of a data-parallel training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aimc_robust.experiments.callbacks.comparison import Progress
from aimc_robust.experiments.execution.engines.base import RunCell, run_here
from aimc_robust.experiments.results.trial import Cell

if TYPE_CHECKING:
    from aimc_robust.experiments.execution.cell_runner import Work


@dataclass(frozen=True, kw_only=True)
class Serial:
    """Runs cells in the order given. What a cell raises ends the run at once: the same process would go on."""

    run_cell: RunCell = run_here

    @property
    def threads(self) -> None:
        """As many as this process has."""

    def run(self, work: Work, cells: list[Cell], progress: Progress) -> dict[Cell, str | None]:
        """See `Engine.run`."""
        return {cell: self.run_cell(work, cell, progress) for cell in cells}
