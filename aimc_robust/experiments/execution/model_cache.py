"""Trained models that several comparisons share, each in a folder named by its recipe's content."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from filelock import FileLock, Timeout

from aimc_robust.errors import CheckpointError, ResultsError
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.io.atomic import atomic_link, atomic_write
from aimc_robust.training.resumption import FINISHED, HISTORY, UNFINISHED, selection_file

SOON_S = 2.0  # a lock that is held for longer is held by a training


@contextmanager
def _alone(shared: Path) -> Iterator[None]:
    """Keep others from training the same recipe; say so before waiting for one that does."""
    lock = FileLock(shared / ".lock")
    try:
        lock.acquire(timeout=SOON_S)
    except Timeout:
        warnings.warn(f"another comparison trains {shared.name} in {shared.parent}; waiting for it.", stacklevel=2)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def training_folder(store: ComparisonResults, trial: Trial, models: Path | None, *, writes: bool) -> Iterator[Path]:
    """Where a trial is trained: its own run folder, or, with a folder of shared `models`, that of its recipe.

    A finished training is put into the run folder too (as a second name of the same file where the disk allows it), so
    that results are whole without the shared folder. What the run folder has started goes on there. Another comparison
    that trains the same recipe is waited for. writes: whether this process is the one that writes.
    """
    own = store.run_folder(trial)
    if models is None or (own / FINISHED).exists() or (own / UNFINISHED).exists():
        own.mkdir(parents=True, exist_ok=True)
        yield own
        return
    shared = models / store.spec.recipe(trial.method, trial.seed)
    try:
        shared.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResultsError(
            f"the folder of shared models {models} cannot be written ({error.strerror}); give --models another one."
        ) from None
    own.mkdir(parents=True, exist_ok=True)
    with _alone(shared) if writes else nullcontext():
        try:
            yield shared
        except CheckpointError as error:
            raise CheckpointError(
                f"the shared model of {trial} is of other images under the same name, or was made by another version: "
                f"{error} Give --models another folder."
            ) from None
        if writes and (shared / FINISHED).exists():
            selections = store.spec.config_of(trial.method).selections
            others = [selection_file(selections, i) for i in range(1, len(selections))]
            atomic_write(own / HISTORY, (shared / HISTORY).read_bytes())  # never two names: rows are appended
            for name in (*others, FINISHED):  # last what says that the training is finished
                atomic_link(shared / name, own / name)
