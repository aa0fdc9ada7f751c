"""What a comparison tells, for TensorBoard too: an event file of each model beside its results."""

from __future__ import annotations

import hashlib
import json
import shutil
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING

from aimc_robust.errors import MissingDependencyError
from aimc_robust.experiments.callbacks.comparison import ComparisonProgress
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.io.atomic import Row, atomic_write
from aimc_robust.training.resumption import FINISHED, UNFINISHED

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FOLDER, COMPLETE = "tensorboard", "complete.txt"


class TensorBoard(ComparisonProgress):
    """Passes everything on to another ComparisonProgress, and writes it into `FOLDER/<trial>/` of the results.

    Tags: `history/KEY`, each number of the history rows over the epochs; `accuracy/TARGET`, the mean accuracy over the
    chips [percent], at the last epoch. The rows are the truth: whenever a trial is taken up again its events are written
    anew from its history, so that a resumed training shows each epoch once; a finished trial's that are complete stay.
    models: the folder of shared trained models, where a training's history lies until it is finished.
    Raises MissingDependencyError when TensorBoard is not installed.
    """

    def __init__(self, progress: ComparisonProgress, store: ComparisonResults, *, models: Path | None = None) -> None:
        self._writer_class = _summary_writer()
        self._progress, self._store, self._models = progress, store, models
        self._writers: dict[Trial, SummaryWriter] = {}
        self._shown: dict[Trial, list[Row]] = {}

    def started(self, *, trials: int, epochs: int, coverage: str) -> None:
        self._progress.started(trials=trials, epochs=epochs, coverage=coverage)

    def training(self, trial: Trial, *, done: int) -> None:
        self._progress.training(trial, done=done)

    def epoch(self, trial: Trial, row: Row) -> None:
        self._progress.epoch(trial, row)
        shown = self._shown.get(trial)
        if shown is None or shown[-1]["epoch"] != row["epoch"] - 1:
            self._write_anew(trial, [known for known in self._history(trial) if known["epoch"] < row["epoch"]])
        self._show(trial, row)
        self._writers[trial].flush()

    def evaluating(self, trial: Trial, target: str) -> None:
        self._progress.evaluating(trial, target)

    def finished(self, trial: Trial, accuracies: dict[str, float]) -> None:
        self._progress.finished(trial, accuracies)
        history = self._store.history(trial)
        content = hashlib.blake2b(json.dumps([history, accuracies]).encode(), digest_size=16).hexdigest()
        complete = self._folder(trial) / COMPLETE
        if complete.exists() and complete.read_text() == content:
            return
        if self._shown.get(trial) != history or complete.exists():
            self._write_anew(trial, history)
        last = history[-1]["epoch"] if history else 0
        for target, accuracy in accuracies.items():
            self._writers[trial].add_scalar(f"accuracy/{target}", accuracy, last)
        self._close(trial)
        atomic_write(complete, content)

    def failed(self, trial: Trial, reason: str) -> None:
        self._progress.failed(trial, reason)
        self._close(trial)

    def _folder(self, trial: Trial) -> Path:
        return self._store.folder / FOLDER / str(trial)

    def _history(self, trial: Trial) -> list[Row]:
        """The rows of a training that runs, from where it runs (see `shared_models.training_folder`)."""
        own = self._store.run_folder(trial)
        if self._models is None or any((own / name).exists() for name in (FINISHED, UNFINISHED)):
            return self._store.history(trial)
        return self._store.history(trial, self._models / self._store.spec.recipe(trial.method, trial.seed))

    def _write_anew(self, trial: Trial, history: list[Row]) -> None:
        self._close(trial)
        shutil.rmtree(self._folder(trial), ignore_errors=True)
        self._writers[trial] = self._writer_class(str(self._folder(trial)))
        self._shown[trial] = []
        for row in history:
            self._show(trial, row)

    def _show(self, trial: Trial, row: Row) -> None:
        self._shown[trial].append(row)
        for key, value in row.items():
            if key != "epoch" and isinstance(value, Real):
                self._writers[trial].add_scalar(f"history/{key}", float(value), row["epoch"])

    def _close(self, trial: Trial) -> None:
        self._shown.pop(trial, None)
        if trial in self._writers:
            self._writers.pop(trial).close()


def _summary_writer() -> type[SummaryWriter]:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingDependencyError(
            f"writing for TensorBoard needs tensorboard ({error}); install it with: pip install "
            "'aimc-robust[tensorboard]'"
        ) from None
    return SummaryWriter
