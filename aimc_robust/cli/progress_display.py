"""Progress of experiments: live bars on a terminal, plain lines elsewhere."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from aimc_robust.cli.results_table import ResultsTable
from aimc_robust.experiments.callbacks.progress import ExperimentSize
from aimc_robust.experiments.callbacks.time_left import TimeLeft
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.io.atomic import Row
from aimc_robust.report.metric_text import format_value
from aimc_robust.statistics.primary_metric import ACCURACY, PrimaryMetric
from aimc_robust.statistics.t_interval import t_interval

REFRESH_S = 1.0  # between two estimates of the time left, each of which looks at all models that are left


class PlainProgress(TimeLeft):
    """Prints a line per trained model, or, where nothing is trained, per model and target."""

    silence_s: ClassVar[float] = 60.0  # after which an epoch is worth a line

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console
        self._line_time, self._shown = time.monotonic(), -math.inf
        self._size, self._done_count = ExperimentSize(trials=0), 0

    def started(self, size: ExperimentSize) -> None:
        """Print the size of the experiment."""
        super().started(size)
        self._size, self._done_count = size, 0
        work = (
            f", {count(size.epochs, 'epoch')} each" if size.epochs else f" on {count(len(size.target_names), 'target')}"
        )
        self.line(f"{count(size.trials, 'model')}{work}. {size.coverage}")

    def note(self, text: str) -> None:
        """Print a note."""
        self.line(f"note: {text}")

    def epoch(self, trial: Trial, row: Row) -> None:
        """Print an epoch after a long silence."""
        super().epoch(trial, row)
        if time.monotonic() - self._line_time > self.silence_s:
            self.line(f"{trial}: epoch {row['epoch']} of {self._size.epochs}")

    def evaluated(self, trial: Trial, target: str, values: Sequence[float]) -> None:
        """Print the estimate of a model on a target, where nothing is trained."""
        if not self._size.epochs:
            self.line(f"{trial} on {target}: {estimate_text(values, self._size.metric, self._size.pilot)}")

    def finished(self, trial: Trial, means: dict[str, float]) -> None:
        """Print the means of a trained model."""
        super().finished(trial, means)
        if self._size.epochs:
            self._done_count += 1
            self._show_means(trial, means)

    def failed(self, trial: Trial, reason: str) -> None:
        """Print why a trial failed."""
        super().failed(trial, reason)
        self._done_count += 1
        self._show_end(trial, f"FAILED, {reason}")

    def line(self, text: str) -> None:
        """Print a line of plain text."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)
        self._line_time = time.monotonic()

    def _show_means(self, trial: Trial, means: dict[str, float]) -> None:
        texts = (f"{target} {format_value(self._size.metric, mean, 1)}" for target, mean in means.items())
        self._show_end(trial, "  ".join(texts))

    def _show_end(self, trial: Trial, text: str) -> None:
        self.line(f"[{self._done_count}/{self._size.trials}] {trial}: {text}{self._end_of_line()}")

    def _end_of_line(self) -> str:
        if time.monotonic() - self._shown < REFRESH_S or not (seconds := self.seconds):
            return ""
        self._shown = time.monotonic()
        return f"  (about {duration(seconds)} left)"


class RichProgress(PlainProgress):
    """Two live bars, all models and the model that reported last; above them a table of a comparison, or the lines."""

    silence_s: ClassVar[float] = math.inf  # the bars show each epoch

    def __init__(self, console: Console, bars: Progress) -> None:
        super().__init__(console)
        self._bars = bars
        self._all_bar = bars.add_task("all models", total=None, visible=False)
        self._trial_bar = bars.add_task("", total=None)
        self._epochs_done: dict[Trial, int] = {}  # several trials may be in progress
        self.table: ResultsTable | None = None

    def __rich__(self) -> RenderableType:
        """Return what is live: the table of a comparison, and the bars."""
        parts = [] if self.table is None else [self.table.render(self.console.width), ""]
        return Group(*parts, self._bars.get_renderable())

    def started(self, size: ExperimentSize) -> None:
        """Print the size of the experiment, and set the length of the bars."""
        super().started(size)
        self._epochs_done = {}
        self.table = ResultsTable(size) if size.models else None
        self._bars.update(self._all_bar, total=size.trials * size.epochs, visible=size.epochs > 0)

    def training(self, trial: Trial, *, done: int) -> None:
        """Show that the training of a trial starts or resumes."""
        super().training(trial, done=done)
        self._bars.reset(self._trial_bar, total=self._size.epochs)
        self._update(trial, "training", done)

    def epoch(self, trial: Trial, row: Row) -> None:
        """Show a finished epoch."""
        super().epoch(trial, row)
        if self.table is not None:
            self.table.set_epoch(trial, row["epoch"])
        self._update(trial, f"epoch {row['epoch']}", row["epoch"])

    def evaluating(self, trial: Trial, target: str, *, done: int, chips: int) -> None:
        """Show which target a model is evaluated on."""
        super().evaluating(trial, target, done=done, chips=chips)
        if self._size.epochs:
            self._update(trial, f"on {target}", self._size.epochs)
        else:
            self._bars.reset(self._trial_bar, description=f"{trial} on {target}", total=chips, completed=done)

    def chip(self, trial: Trial, target: str, values: Sequence[float]) -> None:
        """Show the time left after a chip, or, where nothing is trained, the running estimate."""
        super().chip(trial, target, values)
        if self.table is not None:
            self.table.set_values(trial, target, values)
        if self._size.epochs:
            self._show_time_left()
        else:
            description = f"{trial} on {target}: {estimate_text(values, self._size.metric, self._size.pilot)}"
            self._bars.update(self._trial_bar, description=description, completed=len(values))

    def explaining(self, description: str, *, done: int, total: int) -> None:
        """Show the progress of an attribution or a prediction."""
        self._bars.update(self._trial_bar, description=description, completed=done, total=total)

    def finished(self, trial: Trial, means: dict[str, float]) -> None:
        """Show the means of a trained model."""
        if self.table is not None:
            self.table.finish(trial, means)
        super().finished(trial, means)
        if self._size.epochs:
            self._update(trial, "done", self._size.epochs)

    def failed(self, trial: Trial, reason: str) -> None:
        """Print why a trial failed."""
        if self.table is not None:
            self.table.fail(trial)
        super().failed(trial, reason)
        self._update(trial, "failed", self._size.epochs)

    def _show_means(self, trial: Trial, means: dict[str, float]) -> None:
        if self.table is None:  # which has them
            super()._show_means(trial, means)

    def _update(self, trial: Trial, status: str, epochs_done: int) -> None:
        self._epochs_done[trial] = epochs_done
        self._bars.update(self._trial_bar, description=f"{trial}: {status}", completed=epochs_done)
        self._bars.update(self._all_bar, completed=sum(self._epochs_done.values()))
        self._show_time_left()

    def _show_time_left(self) -> None:
        if time.monotonic() - self._shown < REFRESH_S:
            return
        self._shown = time.monotonic()
        left = f"about {duration(self.seconds)} left" if self.seconds else ""
        self._bars.update(self._all_bar, left=left)
        self._bars.update(self._trial_bar, left="" if self._size.epochs else None)

    def _end_of_line(self) -> str:
        return ""  # the bars show the time left


class _TimeLeftColumn(TimeRemainingColumn):
    """The field `left` of a bar; if it is None, the time that the steps up to now lead to expect."""

    def render(self, task: Task) -> Text:
        """Return the time left."""
        left = task.fields.get("left")
        return Text("left ") + super().render(task) if left is None else Text(left)


@contextmanager
def progress_display() -> Iterator[PlainProgress]:
    """Yield the progress display that suits standard output: live bars on a terminal, else plain lines."""
    console = Console()
    if not console.is_terminal:
        yield PlainProgress(console)
        return
    description = TextColumn("{task.description}")
    columns = (description, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), _TimeLeftColumn())
    view = RichProgress(console, Progress(*columns, console=console))
    with Live(view, console=console, transient=True, refresh_per_second=4):  # the bars disappear at the end
        yield view
    if view.table is not None:
        console.print(view.table.render(console.width))


def estimate_text(values: Sequence[float], metric: PrimaryMetric = ACCURACY, pilot: int | None = None) -> str:
    """Format mean and half-width of the 95 % interval over the chips so far, as `88.41 ± 0.52 % (10 chips)`.

    `pilot` is the number of pilot chips of Stein's two-stage interval; None for a fixed number of chips.
    """
    mean, (_, high) = float(np.mean(values)), t_interval(np.asarray(values), pilot)
    half_width = "" if math.isnan(high) else f" ± {format_value(metric, high - mean)}"
    return f"{format_value(metric, mean)}{half_width} {metric.unit}".rstrip() + f" ({count(len(values), 'chip')})"


def count(number: int, noun: str) -> str:
    """Return a number with its noun, such as `3 chips`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """Format a duration to about two digits: 8 s, 12 min, 3 h 10 min, 2 d 05 h."""
    if seconds < 90:
        return f"{max(1, math.ceil(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    if minutes < 36 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24:02d} h"
