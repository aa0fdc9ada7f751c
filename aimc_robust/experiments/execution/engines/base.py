"""What an engine is: it runs cells somewhere, tells their progress here, and says what came of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from aimc_robust.errors import InputError
from aimc_robust.experiments.callbacks.comparison import Progress
from aimc_robust.experiments.results.trial import Cell

if TYPE_CHECKING:
    from aimc_robust.experiments.execution.cell_runner import Work

# Trains and evaluates one cell as far as that is not done; returns why it failed, or None.
RunCell = Callable[["Work", Cell, Progress], str | None]


class Engine(Protocol):
    """Runs the cells of one comparison. threads: torch's, of each cell; None: as many as this process has."""

    @property
    def threads(self) -> int | None: ...

    def run(self, work: Work, cells: list[Cell], progress: Progress) -> dict[Cell, str | None]:
        """Why each cell failed, or None, in the order of `cells`. Rows and models are in `work.folder`."""
        ...


def run_here(work: Work, cell: Cell, progress: Progress) -> str | None:
    """`cells.run_cell`, imported where cells run: the process that only listens needs none of it."""
    from aimc_robust.experiments.execution.cell_runner import run_cell

    return run_cell(work, cell, progress)


def require_one_process(work: Work) -> None:
    """Raise InputError when each training would be shared out among processes, which is the serial engine's work."""
    if work.machine.processes > 1:
        raise InputError(
            f"cells side by side train in one process each, and {work.machine.processes} were asked for; leave out "
            "either several devices for each training, or several cells at a time."
        )
