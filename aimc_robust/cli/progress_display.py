"""Progress of experiments: live bars on a terminal, plain lines elsewhere."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from aimc_robust.experiments.callbacks.progress import ExperimentProgress
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.io.atomic import Row
from aimc_robust.statistics.t_interval import t_interval

SILENCE_S = 60.0  # after which an epoch is worth a line


class PlainProgress(ExperimentProgress):
    """Prints a line per trained model, or, where nothing is trained, per model and target."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._start_time = self._line_time = time.monotonic()
        self._epochs = self._trial_count = self._done_count = self._timed_count = 0
        self._pilot: int | None = None
        self._active: set[Trial] = set()  # trials that this call worked on; others were finished before

    def started(
        self, *, trials: int, epochs: int = 0, targets: int = 0, coverage: str = "", pilot: int | None = None
    ) -> None:
        """Print the size of the experiment."""
        self._trial_count, self._done_count, self._timed_count = trials, 0, 0
        self._start_time, self._epochs, self._pilot = time.monotonic(), epochs, pilot
        work = f", {_count(epochs, 'epoch')} each" if epochs else f" on {_count(targets, 'target')}"
        self.line(f"{_count(trials, 'model')}{work}. {coverage}")

    def note(self, text: str) -> None:
        """Print a note."""
        self.line(f"note: {text}")

    def training(self, trial: Trial, *, done: int) -> None:
        """Note that a trial is in progress."""
        self._active.add(trial)

    def epoch(self, trial: Trial, row: Row) -> None:
        """Print an epoch after a long silence."""
        if time.monotonic() - self._line_time > SILENCE_S:
            self.line(f"{trial}: epoch {row['epoch']} of {self._epochs}")

    def evaluated(self, trial: Trial, target: str, accuracies: Sequence[float]) -> None:
        """Print the accuracy of a model on a target, where nothing is trained."""
        if not self._epochs:
            self.line(f"{trial} on {target}: {estimate_text(accuracies, self._pilot)}")

    def finished(self, trial: Trial, accuracies: dict[str, float]) -> None:
        """Print the accuracies of a trained model."""
        if self._epochs:
            self._end_trial(trial, "  ".join(f"{target} {accuracy:.1f}" for target, accuracy in accuracies.items()))

    def failed(self, trial: Trial, reason: str) -> None:
        """Print why a trial failed."""
        self._end_trial(trial, f"FAILED, {reason}")

    def line(self, text: str) -> None:
        """Print a line of plain text."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)
        self._line_time = time.monotonic()

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
    """Prints the same lines above two live bars: all models, and the model that reported last."""

    def __init__(self, console: Console, bars: Progress) -> None:
        super().__init__(console)
        self._bars = bars
        self._all_bar = bars.add_task("all models", total=None, visible=False)
        self._trial_bar = bars.add_task("", total=None)
        self._epochs_done: dict[Trial, int] = {}  # several trials may be in progress

    def started(self, **sizes: Any) -> None:
        """Print the size of the experiment, and set the length of the bars."""
        super().started(**sizes)
        self._epochs_done = {}
        self._bars.update(self._all_bar, total=self._trial_count * self._epochs, visible=self._epochs > 0)

    def training(self, trial: Trial, *, done: int) -> None:
        """Show that the training of a trial starts or resumes."""
        super().training(trial, done=done)
        self._bars.reset(self._trial_bar, total=self._epochs)
        self._update(trial, "training", done)

    def epoch(self, trial: Trial, row: Row) -> None:
        """Show a finished epoch."""
        self._update(trial, f"epoch {row['epoch']}", row["epoch"])

    def evaluating(self, trial: Trial, target: str, *, done: int, chips: int) -> None:
        """Show which target a model is evaluated on."""
        if self._epochs:
            self._update(trial, f"on {target}", self._epochs)
        else:
            self._bars.reset(self._trial_bar, description=f"{trial} on {target}", total=chips, completed=done)

    def chip(self, trial: Trial, target: str, accuracies: Sequence[float]) -> None:
        """Show the running estimate after a chip, where nothing is trained."""
        if not self._epochs:
            description = f"{trial} on {target}: {estimate_text(accuracies, self._pilot)}"
            self._bars.update(self._trial_bar, description=description, completed=len(accuracies))

    def explaining(self, description: str, *, done: int, total: int) -> None:
        """Show the progress of an attribution or a prediction."""
        self._bars.update(self._trial_bar, description=description, completed=done, total=total)

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
    if not console.is_terminal:
        yield PlainProgress(console)
        return
    description, left = TextColumn("{task.description}"), TextColumn("left")
    columns = (description, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), left, TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bars:  # the bars disappear at the end
        yield RichProgress(console, bars)


def estimate_text(accuracies: Sequence[float], pilot: int | None = None) -> str:
    """Format mean and half-width of the 95 % interval over the chips so far, as `88.41 ± 0.52 % (10 chips)`.

    `pilot` is the number of pilot chips of Stein's two-stage interval; None for a fixed number of chips.
    """
    mean, (_, high) = float(np.mean(accuracies)), t_interval(np.asarray(accuracies), pilot)
    chips = _count(len(accuracies), "chip")
    return f"{mean:.2f} % ({chips})" if math.isnan(high) else f"{mean:.2f} ± {high - mean:.2f} % ({chips})"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
