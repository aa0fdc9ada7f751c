"""What came of cells that other processes run: finished, failed, died there, or raised what nobody recorded."""

from __future__ import annotations

import pickle
import signal
import traceback
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aimc_robust.errors import AimcError
from aimc_robust.experiments.callbacks.comparison import Progress
from aimc_robust.experiments.execution.engines.base import RunCell
from aimc_robust.experiments.results.comparison import Store
from aimc_robust.experiments.results.trial import Cell
from aimc_robust.parallel.process_pool import WorkerError

if TYPE_CHECKING:
    from aimc_robust.experiments.execution.cell_runner import Work

RETRIES = 2  # times that a cell is begun again after its process died
# Cells that raise before no further one begins. One is a cell's own trouble; a full disk or a broken GPU fails every
# cell that it gets within seconds, and would empty the queue.
MAX_ERRORS = 3

Attempt = tuple[str | None, Exception | None]  # why the cell failed, or what it raised


@dataclass
class Book:
    """Keeps outcomes, and decides whether a cell is tried again and whether further ones begin."""

    work: Work
    progress: Progress
    retries: int
    outcomes: dict[Cell, str | None] = field(default_factory=dict)
    deaths: Counter[Cell] = field(default_factory=Counter)
    errors: list[Exception] = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        """Whether further cells may begin."""
        return len(self.errors) < MAX_ERRORS

    def attempted(self, cell: Cell, attempt: Attempt) -> None:
        """A cell has come to its end. What it raised is told now, and raised by `closed`."""
        reason, error = attempt
        if error is None:
            self.outcomes[cell] = reason
        else:
            self.errors.append(error)
            self.progress.failed(cell, str(error))

    def died(self, cell: Cell, how: str) -> bool:
        """Whether to begin the cell again after its process died; if not, it is recorded as failed."""
        self.deaths[cell] += 1
        if self.deaths[cell] <= self.retries:
            return True
        times = f"{self.deaths[cell]} times, the last time" if self.deaths[cell] > 1 else "once,"
        reason = f"its process died {times} {how}"
        store = Store.open(self.work.folder)
        store.run_folder(cell).mkdir(parents=True, exist_ok=True)  # it may have died before anything else
        store.record_failure(cell, reason)
        self.progress.failed(cell, reason)
        self.outcomes[cell] = reason
        return False

    def closed(self, cells: list[Cell]) -> dict[Cell, str | None]:
        """The outcomes in the order of `cells`. Raises the first error that a cell raised, if one did."""
        if self.errors:
            first, *others = self.errors
            for error in others:
                first.add_note(f"another cell raised {type(error).__name__}: {error}")
            raise first
        return {cell: self.outcomes[cell] for cell in cells}


def attempt(run_cell: RunCell, work: Work, cell: Cell, progress: Progress) -> Attempt:
    """Run a cell; what it raises is returned, in a form that another process can read."""
    try:
        return run_cell(work, cell, progress), None
    except Exception as error:
        return None, _sendable(cell, error)


def _sendable(cell: Cell, error: Exception) -> Exception:
    """`error` if it is one sentence for the user that survives the way; otherwise a WorkerError that tells it."""
    trace = f"in another process:\n{''.join(traceback.format_exception(error))}"
    if isinstance(error, AimcError | OSError):
        error.add_note(trace)
        with suppress(Exception):  # whatever an exception's own constructor raises
            return pickle.loads(pickle.dumps(error))
    told = WorkerError(f"{cell}: {type(error).__name__}: {error}; what is done is kept, and the same command goes on.")
    told.add_note(trace)
    return told


def how_it_died(exit_code: int) -> str:
    """How a process ended, in words, from its exit code: minus the signal's number, as in `multiprocessing`."""
    if exit_code >= 0:
        return f"with exit code {exit_code}"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:  # a real-time signal
        name = f"signal {-exit_code}"
    return f"by {name}" + (", perhaps for want of memory" if name == "SIGKILL" else "")
