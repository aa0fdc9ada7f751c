"""What `compare` shows while it works: bars on a terminal, plain lines elsewhere; each finished model at once."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import Progress as Bars

from aimc_robust.cli.progress_bars import bars_on
from aimc_robust.experiments.callbacks.comparison import Progress
from aimc_robust.experiments.results.trial import Cell
from aimc_robust.io.atomic import Row


class Lines(Progress):
    """Plain lines: what is done, what it scored, how long the rest may take."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.began = time.monotonic()
        self.cells = self.done = self.worked = 0
        self.begun: set[Cell] = set()  # in this call; the others had been finished before it

    def started(self, *, cells: int, epochs: int, coverage: str) -> None:
        self.cells, self.done, self.worked, self.began = cells, 0, 0, time.monotonic()
        self.line(
            f"{cells} model{'s' if cells > 1 else ''}, {epochs} epoch{'s' if epochs > 1 else ''} each. {coverage}"
        )

    def training(self, cell: Cell, *, done: int) -> None:
        self.begun.add(cell)

    def finished(self, cell: Cell, accuracies: dict[str, float]) -> None:
        scores = "  ".join(f"{target} {accuracy:.1f}" for target, accuracy in accuracies.items())
        self._done(cell, scores)

    def failed(self, cell: Cell, reason: str) -> None:
        self._done(cell, f"FAILED, {reason}")

    def report(self, path: Path) -> None:
        """The last line: where the report is."""
        self.line(f"report: {path}")

    def _done(self, cell: Cell, text: str) -> None:
        self.done += 1
        self.worked += cell in self.begun
        self.line(f"[{self.done}/{self.cells}] {cell}: {text}{self._left()}")

    def _left(self) -> str:
        if not self.worked or self.done == self.cells:
            return ""
        seconds = (time.monotonic() - self.began) / self.worked * (self.cells - self.done)
        return f"  (about {_duration(seconds)} left)"

    def line(self, text: str) -> None:
        """Print plain text on a line of its own."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


class TerminalBars(Lines):
    """The same lines above two live bars: all models, and the epochs of the one that something was last heard of."""

    def __init__(self, console: Console, bars: Bars) -> None:
        super().__init__(console)
        self.bars = bars
        self.all = bars.add_task("all models", total=None)
        self.one = bars.add_task("", total=None)
        self.epochs = 0
        self.reached: dict[Cell, int] = {}  # epochs of each cell; several may be under way

    def started(self, *, cells: int, epochs: int, coverage: str) -> None:
        super().started(cells=cells, epochs=epochs, coverage=coverage)
        self.epochs = epochs
        self.reached = {}
        self.bars.update(self.all, total=cells * epochs)

    def training(self, cell: Cell, *, done: int) -> None:
        super().training(cell, done=done)
        self.bars.reset(self.one, total=self.epochs)
        self._show(cell, "training", done)

    def epoch(self, cell: Cell, row: Row) -> None:
        self._show(cell, f"epoch {row['epoch']}", row["epoch"])

    def evaluating(self, cell: Cell, target: str) -> None:
        self._show(cell, f"on {target}", self.epochs)

    def _done(self, cell: Cell, text: str) -> None:
        super()._done(cell, text)
        self._show(cell, "done", self.epochs)

    def _show(self, cell: Cell, what: str, reached: int) -> None:
        self.reached[cell] = reached
        self.bars.update(self.one, description=f"{cell}: {what}", completed=reached)
        self.bars.update(self.all, completed=sum(self.reached.values()))

    def _left(self) -> str:
        return ""  # the bars show it


@contextmanager
def watching() -> Iterator[Lines]:
    """The view that suits standard output."""
    console = Console()
    with bars_on(console) as bars:
        yield Lines(console) if bars is None else TerminalBars(console, bars)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
