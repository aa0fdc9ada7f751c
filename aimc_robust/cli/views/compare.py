"""What `compare` shows while it works: bars on a terminal, plain lines elsewhere; each finished model at once."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import Progress as Bars

from aimc_robust.cli.progress_bars import progress_bars
from aimc_robust.experiments.callbacks.comparison import ComparisonProgress
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.io.atomic import Row


class PlainProgress(ComparisonProgress):
    """Plain lines: what is done, what it scored, how long the rest may take."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.began = time.monotonic()
        self.trials = self.done = self.worked = 0
        self.started: set[Trial] = set()  # in this call; the others had been finished before it

    def started(self, *, trials: int, epochs: int, coverage: str) -> None:
        self.trials, self.done, self.worked, self.began = trials, 0, 0, time.monotonic()
        self.line(
            f"{trials} model{'s' if trials > 1 else ''}, {epochs} epoch{'s' if epochs > 1 else ''} each. {coverage}"
        )

    def training(self, trial: Trial, *, done: int) -> None:
        self.started.add(trial)

    def finished(self, trial: Trial, accuracies: dict[str, float]) -> None:
        scores = "  ".join(f"{target} {accuracy:.1f}" for target, accuracy in accuracies.items())
        self._done(trial, scores)

    def failed(self, trial: Trial, reason: str) -> None:
        self._done(trial, f"FAILED, {reason}")

    def report(self, path: Path) -> None:
        """The last line: where the report is."""
        self.line(f"report: {path}")

    def _done(self, trial: Trial, text: str) -> None:
        self.done += 1
        self.worked += trial in self.started
        self.line(f"[{self.done}/{self.trials}] {trial}: {text}{self._left()}")

    def _left(self) -> str:
        if not self.worked or self.done == self.trials:
            return ""
        seconds = (time.monotonic() - self.began) / self.worked * (self.trials - self.done)
        return f"  (about {_duration(seconds)} left)"

    def line(self, text: str) -> None:
        """Print plain text on a line of its own."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


class RichProgress(PlainProgress):
    """The same lines above two live bars: all models, and the epochs of the one that something was last heard of."""

    def __init__(self, console: Console, bars: Bars) -> None:
        super().__init__(console)
        self.bars = bars
        self.all = bars.add_task("all models", total=None)
        self.one = bars.add_task("", total=None)
        self.epochs = 0
        self.reached: dict[Trial, int] = {}  # epochs of each trial; several may be under way

    def started(self, *, trials: int, epochs: int, coverage: str) -> None:
        super().started(trials=trials, epochs=epochs, coverage=coverage)
        self.epochs = epochs
        self.reached = {}
        self.bars.update(self.all, total=trials * epochs)

    def training(self, trial: Trial, *, done: int) -> None:
        super().training(trial, done=done)
        self.bars.reset(self.one, total=self.epochs)
        self._show(trial, "training", done)

    def epoch(self, trial: Trial, row: Row) -> None:
        self._show(trial, f"epoch {row['epoch']}", row["epoch"])

    def evaluating(self, trial: Trial, target: str) -> None:
        self._show(trial, f"on {target}", self.epochs)

    def _done(self, trial: Trial, text: str) -> None:
        super()._done(trial, text)
        self._show(trial, "done", self.epochs)

    def _show(self, trial: Trial, what: str, reached: int) -> None:
        self.reached[trial] = reached
        self.bars.update(self.one, description=f"{trial}: {what}", completed=reached)
        self.bars.update(self.all, completed=sum(self.reached.values()))

    def _left(self) -> str:
        return ""  # the bars show it


@contextmanager
def progress_display() -> Iterator[PlainProgress]:
    """The view that suits standard output."""
    console = Console()
    with progress_bars(console) as bars:
        yield PlainProgress(console) if bars is None else RichProgress(console, bars)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
