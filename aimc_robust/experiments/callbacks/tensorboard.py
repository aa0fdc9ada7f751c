"""What a comparison tells, for TensorBoard too: an event file of each model beside its results."""

from __future__ import annotations

import hashlib
import json
import shutil
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING

from aimc_robust.errors import MissingDependencyError
from aimc_robust.experiments.callbacks.comparison import Progress
from aimc_robust.experiments.results.comparison import Store
from aimc_robust.experiments.results.trial import Cell
from aimc_robust.io.atomic import Row, write_whole
from aimc_robust.training.resumption import FINISHED, UNFINISHED

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FOLDER, COMPLETE = "tensorboard", "complete.txt"


class TensorBoard(Progress):
    """Passes everything on to another Progress, and writes it into `FOLDER/<cell>/` of the results.

    Tags: `history/KEY`, each number of the history rows over the epochs; `accuracy/TARGET`, the mean accuracy over the
    chips [percent], at the last epoch. The rows are the truth: whenever a cell is taken up again its events are written
    anew from its history, so that a resumed training shows each epoch once; a finished cell's that are complete stay.
    models: the folder of shared trained models, where a training's history lies until it is finished.
    Raises MissingDependencyError when TensorBoard is not installed.
    """

    def __init__(self, progress: Progress, store: Store, *, models: Path | None = None) -> None:
        self._writer_class = _summary_writer()
        self._progress, self._store, self._models = progress, store, models
        self._writers: dict[Cell, SummaryWriter] = {}
        self._shown: dict[Cell, list[Row]] = {}

    def started(self, *, cells: int, epochs: int, coverage: str) -> None:
        self._progress.started(cells=cells, epochs=epochs, coverage=coverage)

    def training(self, cell: Cell, *, done: int) -> None:
        self._progress.training(cell, done=done)

    def epoch(self, cell: Cell, row: Row) -> None:
        self._progress.epoch(cell, row)
        shown = self._shown.get(cell)
        if shown is None or shown[-1]["epoch"] != row["epoch"] - 1:
            self._write_anew(cell, [known for known in self._history(cell) if known["epoch"] < row["epoch"]])
        self._show(cell, row)
        self._writers[cell].flush()

    def evaluating(self, cell: Cell, target: str) -> None:
        self._progress.evaluating(cell, target)

    def finished(self, cell: Cell, accuracies: dict[str, float]) -> None:
        self._progress.finished(cell, accuracies)
        history = self._store.history(cell)
        content = hashlib.blake2b(json.dumps([history, accuracies]).encode(), digest_size=16).hexdigest()
        complete = self._folder(cell) / COMPLETE
        if complete.exists() and complete.read_text() == content:
            return
        if self._shown.get(cell) != history or complete.exists():
            self._write_anew(cell, history)
        last = history[-1]["epoch"] if history else 0
        for target, accuracy in accuracies.items():
            self._writers[cell].add_scalar(f"accuracy/{target}", accuracy, last)
        self._close(cell)
        write_whole(complete, content)

    def failed(self, cell: Cell, reason: str) -> None:
        self._progress.failed(cell, reason)
        self._close(cell)

    def _folder(self, cell: Cell) -> Path:
        return self._store.folder / FOLDER / str(cell)

    def _history(self, cell: Cell) -> list[Row]:
        """The rows of a training that runs, from where it runs (see `shared_models.training_folder`)."""
        own = self._store.run_folder(cell)
        if self._models is None or any((own / name).exists() for name in (FINISHED, UNFINISHED)):
            return self._store.history(cell)
        return self._store.history(cell, self._models / self._store.spec.recipe(cell.method, cell.seed))

    def _write_anew(self, cell: Cell, history: list[Row]) -> None:
        self._close(cell)
        shutil.rmtree(self._folder(cell), ignore_errors=True)
        self._writers[cell] = self._writer_class(str(self._folder(cell)))
        self._shown[cell] = []
        for row in history:
            self._show(cell, row)

    def _show(self, cell: Cell, row: Row) -> None:
        self._shown[cell].append(row)
        for key, value in row.items():
            if key != "epoch" and isinstance(value, Real):
                self._writers[cell].add_scalar(f"history/{key}", float(value), row["epoch"])

    def _close(self, cell: Cell) -> None:
        self._shown.pop(cell, None)
        if cell in self._writers:
            self._writers.pop(cell).close()


def _summary_writer() -> type[SummaryWriter]:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingDependencyError(
            f"writing for TensorBoard needs tensorboard ({error}); install it with: pip install "
            "'aimc-robust[tensorboard]'"
        ) from None
    return SummaryWriter
