"""The table of a running comparison: methods x targets, filled as models finish, the best so far marked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from aimc_robust.experiments.callbacks.progress import ExperimentSize
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.report.formatting import MISSING
from aimc_robust.report.metric_text import format_value

COLUMN_WIDTH = 9  # of a target, with its padding [characters]
MODELS_WIDTH = 14  # of the column with the finished models and the epoch
BEST = "*"


class ResultsTable:
    """Mean of the primary metric of each method on each target, over the models and chips measured up to now."""

    def __init__(self, size: ExperimentSize) -> None:
        self._size = size
        self._means: dict[tuple[str, str], dict[int, float]] = {}
        self._ended: dict[str, set[int]] = {label: set() for label in size.models}
        self._failed: dict[str, int] = dict.fromkeys(size.models, 0)
        self._epochs: dict[str, int] = {}  # of a training in progress

    def set_epoch(self, trial: Trial, epoch: int) -> None:
        """Show how far a training is."""
        self._epochs[trial.model] = epoch

    def set_values(self, trial: Trial, target: str, values: Sequence[float]) -> None:
        """Take the mean of the chips of a model under a target up to now; landscapes are left out."""
        if target in self._size.target_names and values:
            self._means.setdefault((trial.model, target), {})[trial.train_seed] = math.fsum(values) / len(values)

    def finish(self, trial: Trial, means: Mapping[str, float]) -> None:
        """Take the means of a finished model."""
        for target, mean in means.items():
            self.set_values(trial, target, [mean])
        self._end(trial)

    def fail(self, trial: Trial) -> None:
        """Count a failed model."""
        self._failed[trial.model] += 1
        self._end(trial)

    def _end(self, trial: Trial) -> None:
        self._epochs.pop(trial.model, None)
        self._ended[trial.model].add(trial.train_seed)

    def mean(self, label: str, target: str) -> float | None:
        """Return the mean over the models measured up to now; None before the first chip."""
        values = list(self._means.get((label, target), {}).values())
        return math.fsum(values) / len(values) if values else None

    def best(self, target: str) -> str | None:
        """Return the label of the best method on a target so far; None before two methods have a value."""
        metric = self._size.metric
        means = {label: mean for label in self._size.models if (mean := self.mean(label, target)) is not None}
        return min(means, key=lambda label: metric.loss_of(0.0, means[label])) if len(means) > 1 else None

    def render(self, width: int) -> RenderableType:
        """Return the table for a terminal of a width [characters]; targets without room are counted only."""
        metric, names = self._size.metric, list(self._size.target_names)
        method_width = min(max(map(len, [*self._size.models, "method"])), max(width // 4, 8))
        free = width - method_width - MODELS_WIDTH - 4
        is_wide = sum(max(len(name) + 2, COLUMN_WIDTH) for name in names) <= free  # else names are folded
        room = max(1, free // COLUMN_WIDTH)
        shown = names if is_wide or len(names) <= room else names[: max(room - 1, 1)]
        unit = f" [{metric.unit}]" if metric.unit else ""
        title = f"{metric.title}{unit}, mean of the chips up to now; {BEST} best so far"
        table = Table(box=None, pad_edge=False)
        table.add_column("method", overflow="fold", width=method_width)
        table.add_column("models", no_wrap=True, width=MODELS_WIDTH)
        for name in shown:
            column_width = max(len(name), COLUMN_WIDTH - 2) if is_wide else COLUMN_WIDTH - 2
            table.add_column(name, justify="right", overflow="fold", width=column_width)
        if len(shown) < len(names):
            table.add_column(f"{len(names) - len(shown)} more targets", width=COLUMN_WIDTH - 2, style="dim")
        best = {name: self.best(name) for name in shown}
        for label in self._size.models:
            cells = [self._cell(label, name, is_best=best[name] == label) for name in shown]
            table.add_row(label, self._progress(label), *cells)
        return Group(Text(title), table)  # a title of the table itself would be wrapped at its width

    def _cell(self, label: str, target: str, *, is_best: bool) -> Text:
        mean = self.mean(label, target)
        if mean is None:
            return Text(MISSING, style="dim")
        text = format_value(self._size.metric, mean, 1)
        if is_best:
            return Text(f"{BEST}{text}", style="bold green")
        return Text(text, style="" if len(self._ended[label]) == self._size.models[label] else "dim")

    def _progress(self, label: str) -> Text:
        """Say how many models of a method have ended, and how far a training is."""
        ended, number = len(self._ended[label]), self._size.models[label]
        if failed := self._failed[label]:
            return Text(f"{ended}/{number}, {failed} failed", style="red")
        epoch = self._epochs.get(label)
        return Text(f"{ended}/{number}" + (f", epoch {epoch}" if epoch is not None else ""))
