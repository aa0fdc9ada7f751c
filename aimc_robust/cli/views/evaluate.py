"""What `evaluate` shows: a bar with the running estimate while it works, and the table at the end."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress as Bars
from rich.table import Table

from aimc_robust.cli.progress_bars import progress_bars
from aimc_robust.experiments.callbacks.evaluation import EvaluationProgress
from aimc_robust.experiments.results.evaluation import EvaluationResults
from aimc_robust.experiments.results.evaluation_tables import summary_table
from aimc_robust.experiments.spec.evaluation import TrainedModel
from aimc_robust.report.formatting import bounds, number
from aimc_robust.statistics.t_interval import t_interval

WIDE = 200  # columns of a table in a file or pipe, where nothing needs to be folded


class PlainProgress(EvaluationProgress):
    """A line for each model and target."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.pilot: int | None = None

    def started(self, *, models: int, targets: int, coverage: str, pilot: int | None) -> None:
        self.pilot = pilot
        self.line(f"{models} model{'s' if models > 1 else ''} on {targets} targets. {coverage}")

    def note(self, text: str) -> None:
        self.line(f"note: {text}")

    def finished(self, model: TrainedModel, target: str, accuracies: Sequence[float]) -> None:
        self.line(f"{model} on {target}: {running(accuracies, self.pilot)}")

    def line(self, text: str) -> None:
        """Print plain text on a line of its own."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


class RichProgress(PlainProgress):
    """The same lines above a live bar."""

    def __init__(self, console: Console, bars: Bars) -> None:
        super().__init__(console)
        self.bars = bars
        self.bar = bars.add_task("", total=None)

    def evaluating(self, model: TrainedModel, target: str, *, done: int, chips: int) -> None:
        self.bars.reset(self.bar, description=f"{model} on {target}", total=chips, completed=done)

    def chip(self, model: TrainedModel, target: str, accuracies: Sequence[float]) -> None:
        self.bars.update(
            self.bar, description=f"{model} on {target}: {running(accuracies, self.pilot)}", completed=len(accuracies)
        )

    def explaining(self, what: str, *, done: int, total: int) -> None:
        self.bars.update(self.bar, description=what, completed=done, total=total)


def running(accuracies: Sequence[float], pilot: int | None = None) -> str:
    """Mean of the chips so far and half of their 95 % interval, after a pilot Stein's."""
    mean, (_, high) = float(np.mean(accuracies)), t_interval(np.asarray(accuracies), pilot)
    chips = f"{len(accuracies)} chip{'s' if len(accuracies) > 1 else ''}"
    return f"{mean:.2f} % ({chips})" if math.isnan(high) else f"{mean:.2f} ± {high - mean:.2f} % ({chips})"


@contextmanager
def progress_display() -> Iterator[PlainProgress]:
    """The view that suits standard output."""
    console = Console()
    with progress_bars(console) as bars:
        yield PlainProgress(console) if bars is None else RichProgress(console, bars)


def show(results: EvaluationResults) -> None:
    """The table of all models and targets, in percent."""
    question = results.spec
    rows = summary_table(results.estimates(), question.threshold)
    table = Table(
        title=f"Accuracy [%] on {question.images.count} images", title_justify="left", box=None, pad_edge=False
    )
    several, yields = bool((rows["models"] > 1).any()), question.threshold is not None
    columns = ["model", "target", "mean", "95 % interval", "sd_noise", *(["sd_seed"] if several else [])]
    columns += ["5 %\nquantile", "worst", *([f">= {question.threshold:g}"] if yields else []), "chips"]
    for column in columns:
        look = {"justify": "left"} if column in ("model", "target") else {"justify": "right", "no_wrap": True}
        table.add_column(column, overflow="fold", **look)
    for row in rows.to_dict("records"):
        cells = [row["model"], row["target"], number(row["mean"]), bounds(row["ci_low"], row["ci_high"], 2)]
        cells += [number(row["sd_noise"]), *([number(row["sd_seed"])] if several else [])]
        cells += [number(row["quantile_05"]), number(row["worst"]), *([_yield(row)] if yields else [])]
        table.add_row(*cells, str(row["chips"]) if row["models"] == 1 else f"{row['models']} x {row['chips']}")
    console = Console()
    (console if console.is_terminal else Console(width=WIDE)).print(table)
    if len(rows):
        console.print(
            f"Another set of {question.images.count} test images would move an accuracy by up to "
            f"±{number(rows['sampling'].max())} points (95 %).",
            highlight=False,
            soft_wrap=True,
        )


def _yield(row: dict[str, Any]) -> str:
    return f"{number(row['yield'], 0)} {bounds(row['yield_low'], row['yield_high'], 0)}"
