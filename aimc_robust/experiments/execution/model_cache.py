"""A folder of trained models that several comparisons share; each is in a subfolder named by its recipe's hash."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from filelock import FileLock, Timeout

from aimc_robust.errors import CheckpointError, ResultsError, warn
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.io.atomic import atomic_link
from aimc_robust.training.resumption import FINISHED, read_history, restore_history, selection_file

LOCK_TIMEOUT_S = 2.0  # a lock that is held for longer belongs to a running training


@contextmanager
def training_folder(
    results: ComparisonResults, trial: Trial, model_cache: Path | None, *, writes: bool
) -> Iterator[Path]:
    """Yield the folder where a trial is trained: its run folder, or its subfolder of the model cache.

    A finished training is linked into the run folder too (or copied, if the disk has no hard links), so that the
    results are complete without the cache. A training that was started in the run folder continues there. If another
    comparison trains the same recipe, this one waits for it. Only the process that `writes` links and locks.

    Raises:
        ResultsError: if the cache is not writable.
        CheckpointError: if the cached model belongs to other data or another version.
    """
    run_folder, shared = results.run_folder(trial), results.training_folder(trial, model_cache)
    run_folder.mkdir(parents=True, exist_ok=True)
    if shared == run_folder:
        yield run_folder
        return
    try:
        shared.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResultsError(
            f"the folder of shared models {model_cache} cannot be written ({error.strerror}); give --models another "
            "one."
        ) from None
    with _training_lock(shared) if writes else nullcontext():
        try:
            yield shared
        except CheckpointError as error:
            raise CheckpointError(
                f"the shared model of {trial} belongs to other data of the same name, or to another version: "
                f"{error} Give --models another folder."
            ) from None
        if writes and (shared / FINISHED).exists():
            selections = results.spec.config_of(trial.model).selections
            other_selections = [selection_file(selections, i) for i in range(1, len(selections))]
            restore_history(run_folder, read_history(shared))  # not linked: rows are appended
            for name in (*other_selections, FINISHED):  # the file that marks the training as finished comes last
                atomic_link(shared / name, run_folder / name)


@contextmanager
def _training_lock(shared: Path) -> Iterator[None]:
    """Keep other processes from training the same recipe; warn before waiting for one that does."""
    lock = FileLock(shared / ".lock")
    try:
        lock.acquire(timeout=LOCK_TIMEOUT_S)
    except Timeout:
        warn(f"another comparison trains {shared.name} in {shared.parent}; waiting for it.")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
