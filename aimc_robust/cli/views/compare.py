"""Progress of `compare` and `recommend`: live bars on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress

from aimc_robust.cli.progress_bars import progress_bars
from aimc_robust.experiments.callbacks.comparison import ComparisonProgress
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.io.atomic import Row


class PlainProgress(ComparisonProgress):
    """Prints a line per finished trial: its accuracies, and the estimated time left.

    Args:
        console: Where to print.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._start_time = time.monotonic()
        self._trial_count = self._done_count = self._timed_count = 0
        self._active: set[Trial] = set()  # trials that this call worked on; others were finished before

    def started(self, *, trials: int, epochs: int, coverage: str) -> None:
        """Print the size of the comparison."""
        self._trial_count, self._done_count, self._timed_count = trials, 0, 0
        self._start_time = time.monotonic()
        self.line(
            f"{trials} model{'s' if trials > 1 else ''}, {epochs} epoch{'s' if epochs > 1 else ''} each. {coverage}"
        )

    def training(self, trial: Trial, *, done: int) -> None:
        """Note that a trial is in progress."""
        self._active.add(trial)

    def finished(self, trial: Trial, accuracies: dict[str, float]) -> None:
        """Print the accuracies of a trial."""
        scores = "  ".join(f"{target} {accuracy:.1f}" for target, accuracy in accuracies.items())
        self._end_trial(trial, scores)

    def failed(self, trial: Trial, reason: str) -> None:
        """Print why a trial failed."""
        self._end_trial(trial, f"FAILED, {reason}")

    def line(self, text: str) -> None:
        """Print a line of plain text."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _end_trial(self, trial: Trial, text: str) -> None:
        self._done_count += 1
        self._timed_count += trial in self._active
        self.line(f"[{self._done_count}/{self._trial_count}] {trial}: {text}{self._time_left()}")

    def _time_left(self) -> str:
        if not self._timed_count or self._done_count == self._trial_count:
            return ""
        per_trial_s = (time.monotonic() - self._start_time) / self._timed_count
        return f"  (about {_duration(per_trial_s * (self._trial_count - self._done_count))} left)"


class RichProgress(PlainProgress):
    """Prints the same lines above two live bars: all trials, and the trial that reported last.

    Args:
        console: Where to print.
        bars: The live bars.
    """

    def __init__(self, console: Console, bars: Progress) -> None:
        super().__init__(console)
        self._bars = bars
        self._all_bar = bars.add_task("all models", total=None)
        self._trial_bar = bars.add_task("", total=None)
        self._epochs = 0
        self._epochs_done: dict[Trial, int] = {}  # several trials may be in progress

    def started(self, *, trials: int, epochs: int, coverage: str) -> None:
        """Print the size of the comparison, and set the length of the bars."""
        super().started(trials=trials, epochs=epochs, coverage=coverage)
        self._epochs = epochs
        self._epochs_done = {}
        self._bars.update(self._all_bar, total=trials * epochs)

    def training(self, trial: Trial, *, done: int) -> None:
        """Show that the training of a trial starts or resumes."""
        super().training(trial, done=done)
        self._bars.reset(self._trial_bar, total=self._epochs)
        self._update(trial, "training", done)

    def epoch(self, trial: Trial, row: Row) -> None:
        """Show a finished epoch."""
        self._update(trial, f"epoch {row['epoch']}", row["epoch"])

    def evaluating(self, trial: Trial, target: str) -> None:
        """Show which target a trial is evaluated on."""
        self._update(trial, f"on {target}", self._epochs)

    def _end_trial(self, trial: Trial, text: str) -> None:
        super()._end_trial(trial, text)
        self._update(trial, "done", self._epochs)

    def _update(self, trial: Trial, status: str, epochs_done: int) -> None:
        self._epochs_done[trial] = epochs_done
        self._bars.update(self._trial_bar, description=f"{trial}: {status}", completed=epochs_done)
        self._bars.update(self._all_bar, completed=sum(self._epochs_done.values()))

    def _time_left(self) -> str:
        return ""  # the bars show it


@contextmanager
def progress_display() -> Iterator[PlainProgress]:
    """Yield the progress display that suits standard output: live bars on a terminal, else plain lines."""
    console = Console()
    with progress_bars(console) as bars:
        yield PlainProgress(console) if bars is None else RichProgress(console, bars)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
