"""Output of `evaluate`: progress with the running estimate, and the table of results."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from aimc_robust.cli.progress_bars import progress_bars
from aimc_robust.experiments.callbacks.evaluation import EvaluationProgress
from aimc_robust.experiments.results.evaluation import EvaluationResults
from aimc_robust.experiments.results.evaluation_tables import summary_table
from aimc_robust.experiments.spec.evaluation import TrainedModel
from aimc_robust.report.formatting import format_interval, format_number
from aimc_robust.statistics.t_interval import t_interval

FILE_WIDTH = 200  # width of a table that is written to a file or pipe, where nothing needs to wrap [characters]


class PlainProgress(EvaluationProgress):
    """Prints a line per model and target.

    Args:
        console: Where to print.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._pilot: int | None = None

    def started(self, *, models: int, targets: int, coverage: str, pilot: int | None) -> None:
        """Print the size of the evaluation."""
        self._pilot = pilot
        self.line(f"{models} model{'s' if models > 1 else ''} on {targets} targets. {coverage}")

    def note(self, text: str) -> None:
        """Print a note."""
        self.line(f"note: {text}")

    def finished(self, model: TrainedModel, target: str, accuracies: Sequence[float]) -> None:
        """Print the accuracy of a model on a target."""
        self.line(f"{model} on {target}: {estimate_text(accuracies, self._pilot)}")

    def line(self, text: str) -> None:
        """Print a line of plain text."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


class RichProgress(PlainProgress):
    """Prints the same lines above a live bar.

    Args:
        console: Where to print.
        bars: The live bars.
    """

    def __init__(self, console: Console, bars: Progress) -> None:
        super().__init__(console)
        self._bars = bars
        self._bar = bars.add_task("", total=None)

    def evaluating(self, model: TrainedModel, target: str, *, done: int, chips: int) -> None:
        """Show that the evaluation of a model on a target starts."""
        self._bars.reset(self._bar, description=f"{model} on {target}", total=chips, completed=done)

    def chip(self, model: TrainedModel, target: str, accuracies: Sequence[float]) -> None:
        """Show the running estimate after a chip."""
        description = f"{model} on {target}: {estimate_text(accuracies, self._pilot)}"
        self._bars.update(self._bar, description=description, completed=len(accuracies))

    def explaining(self, what: str, *, done: int, total: int) -> None:
        """Show the progress of an attribution or a prediction."""
        self._bars.update(self._bar, description=what, completed=done, total=total)


def estimate_text(accuracies: Sequence[float], pilot: int | None = None) -> str:
    """Format mean and half-width of the 95 % interval over the chips so far.

    Args:
        accuracies: Accuracy of each chip [percent].
        pilot: Number of pilot chips of Stein's two-stage interval; None for a fixed number of chips.

    Returns:
        Text such as `88.41 ± 0.52 % (10 chips)`.
    """
    mean, (_, high) = float(np.mean(accuracies)), t_interval(np.asarray(accuracies), pilot)
    chips = f"{len(accuracies)} chip{'s' if len(accuracies) > 1 else ''}"
    return f"{mean:.2f} % ({chips})" if math.isnan(high) else f"{mean:.2f} ± {high - mean:.2f} % ({chips})"


@contextmanager
def progress_display() -> Iterator[PlainProgress]:
    """Yield the progress display that suits standard output: a live bar on a terminal, else plain lines."""
    console = Console()
    with progress_bars(console) as bars:
        yield PlainProgress(console) if bars is None else RichProgress(console, bars)


def show(results: EvaluationResults) -> None:
    """Print the accuracies of all models and targets in percent."""
    spec = results.spec
    summary = summary_table(results.estimates(), spec.threshold)
    table = Table(title=f"Accuracy [%] on {spec.images.count} images", title_justify="left", box=None, pad_edge=False)
    has_seeds = bool((summary["models"] > 1).any())
    columns = ["model", "target", "mean", "95 % interval", "sd_noise", *(["sd_seed"] if has_seeds else [])]
    columns += ["5 %\nquantile", "worst", *([] if spec.threshold is None else [f">= {spec.threshold:g}"]), "chips"]
    for column in columns:
        if column in ("model", "target"):
            table.add_column(column, overflow="fold", justify="left")
        else:
            table.add_column(column, overflow="fold", justify="right", no_wrap=True)
    for row in summary.to_dict("records"):
        table.add_row(*_cells(row, has_seeds=has_seeds, has_yield=spec.threshold is not None))
    console = Console()
    (console if console.is_terminal else Console(width=FILE_WIDTH)).print(table)
    if len(summary):
        console.print(
            f"Another test set of {spec.images.count} images would change an accuracy by up to "
            f"±{format_number(summary['sampling'].max())} points (95 %).",
            highlight=False,
            soft_wrap=True,
        )


def _cells(row: Mapping[str, Any], *, has_seeds: bool, has_yield: bool) -> list[str]:
    cells = [row["model"], row["target"], format_number(row["mean"]), format_interval(row["ci_low"], row["ci_high"], 2)]
    cells += [format_number(row["sd_noise"]), *([format_number(row["sd_seed"])] if has_seeds else [])]
    cells += [format_number(row["quantile_05"]), format_number(row["worst"])]
    if has_yield:
        interval = format_interval(row["yield_low"], row["yield_high"], 0)
        cells.append(f"{format_number(row['yield'], 0)} {interval}")
    return [*cells, str(row["chips"]) if row["models"] == 1 else f"{row['models']} x {row['chips']}"]
