"""TensorBoard event files of a comparison, one per model."""

from __future__ import annotations

import shutil
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING

from aimc_robust.errors import MissingDependencyError
from aimc_robust.experiments.callbacks.progress import ExperimentProgress
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.io.atomic import Row, atomic_write
from aimc_robust.training.recipe import fingerprint

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FOLDER, COMPLETE = "tensorboard", "complete.txt"


class TensorBoard(ExperimentProgress):
    """Write event files into `tensorboard/<trial>/` of the results folder.

    Tags: `history/KEY` holds each number of the training history over the epochs; `METRIC/TARGET`, such as
    `accuracy/digital`, holds the mean of the primary metric over the chips at the last epoch.

    The rows on disk are the source: when a trial continues, its events are rewritten from its history, so that a
    resumed training shows each epoch once. Complete events of a finished trial are kept.

    Raises:
        MissingDependencyError: if TensorBoard is not installed.
    """

    def __init__(self, results: ComparisonResults, *, model_cache: Path | None = None) -> None:
        self._writer_class = _summary_writer_class()
        self._results, self._model_cache = results, model_cache
        self._writers: dict[Trial, SummaryWriter] = {}
        self._written: dict[Trial, list[Row]] = {}

    def epoch(self, trial: Trial, row: Row) -> None:
        """Write the numbers of an epoch."""
        written = self._written.get(trial)
        if written is None or written[-1]["epoch"] != row["epoch"] - 1:
            rows = self._results.history(trial, self._results.training_folder(trial, self._model_cache))
            self._rewrite(trial, [earlier for earlier in rows if earlier["epoch"] < row["epoch"]])
        self._write(trial, row)
        self._writers[trial].flush()

    def finished(self, trial: Trial, means: dict[str, float]) -> None:
        """Write the means and mark the events as complete."""
        history = self._results.history(trial)
        content = fingerprint([history, means])
        complete = self._folder(trial) / COMPLETE
        if complete.exists() and complete.read_text() == content:
            return
        if self._written.get(trial) != history or complete.exists():
            self._rewrite(trial, history)
        last_epoch = history[-1]["epoch"] if history else 0
        for target, mean in means.items():
            self._writers[trial].add_scalar(f"{self._results.metric.name}/{target}", mean, last_epoch)
        self._close(trial)
        atomic_write(complete, content)

    def failed(self, trial: Trial, reason: str) -> None:
        """Close the trial's event file."""
        self._close(trial)

    def _folder(self, trial: Trial) -> Path:
        return self._results.folder / FOLDER / str(trial)

    def _rewrite(self, trial: Trial, history: list[Row]) -> None:
        self._close(trial)
        shutil.rmtree(self._folder(trial), ignore_errors=True)
        self._writers[trial] = self._writer_class(str(self._folder(trial)))
        self._written[trial] = []
        for row in history:
            self._write(trial, row)

    def _write(self, trial: Trial, row: Row) -> None:
        self._written[trial].append(row)
        for key, value in row.items():
            if key != "epoch" and isinstance(value, Real):
                self._writers[trial].add_scalar(f"history/{key}", float(value), row["epoch"])

    def _close(self, trial: Trial) -> None:
        self._written.pop(trial, None)
        if trial in self._writers:
            self._writers.pop(trial).close()


def _summary_writer_class() -> type[SummaryWriter]:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingDependencyError(
            f"writing for TensorBoard needs tensorboard ({error}); install it with: pip install "
            "'aimc-robust[tensorboard]'"
        ) from None
    return SummaryWriter
