"""Cell after cell in this process, with torch's own threads; so do all processes of a data-parallel training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aimc_robust.bench.engines.engine import RunCell, run_here
from aimc_robust.bench.progress import Progress
from aimc_robust.bench.store import Cell

if TYPE_CHECKING:
    from aimc_robust.bench.cells import Work


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
