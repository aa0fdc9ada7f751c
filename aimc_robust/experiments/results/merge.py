"""Join the results of one question that were made on different machines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from aimc_robust.errors import InputError, ResultsError
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.dict_diff import differences
from aimc_robust.experiments.results.filenames import (
    COVERAGE,
    ENVIRONMENT,
    EVALUATIONS,
    FAILURE,
    HISTORY,
    QUESTION,
    RANGES,
    SPEC,
)
from aimc_robust.experiments.results.locking import lock_folder
from aimc_robust.experiments.results.merge_runs import MergedTrial, TrialRun, merge_trial_runs
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.io.atomic import Row, atomic_link, atomic_write, read_json, read_rows
from aimc_robust.training.resumption import FINISHED, UNFINISHED

MOST_TOLD = 3


@dataclass(frozen=True)
class MergeResult:
    """What a merge came to: the store, and the trials of which anything is known."""

    store: ComparisonResults
    trials: dict[Trial, MergedTrial]

    @property
    def finished(self) -> int:
        """How many trainings are finished."""
        return sum(joined.runs[0].finished for joined in self.trials.values())

    @property
    def rows(self) -> int:
        """How many evaluation rows there are."""
        return sum(len(joined.evaluations) for joined in self.trials.values())


def merge(folders: Sequence[Path], out: Path) -> MergeResult:
    """Join the results in `folders` into `out`: a new folder, or one that gains what the others have.

    Of each trial the finished training is taken, else the one that can go on from the most epochs. Rows of the same
    training are united. Two finished trainings are the same when their weights are, or, where one was published without
    weights, when all epochs and chips that both have show the same numbers; weights that are the same and rows that are
    not differ by the rounding of the machines that evaluated them, and the row of the earlier folder stands.
    A kill leaves whole files and no row without its training; the same call goes on.
    Raises InputError or ResultsError, before anything is written, for folders of different questions, and for a trial of
    which two finished trainings differ.
    """
    folders, gains = _distinct(folders, out)
    stores = [ComparisonResults.open(folder) for folder in folders]
    _check_same_question(stores)
    text = next((path.read_text(encoding="utf-8") for folder in folders if (path := folder / SPEC).exists()), "")
    with ExitStack() as stack:
        for folder in folders:
            stack.enter_context(lock_folder(out) if gains and out.samefile(folder) else _still(folder))
        trials = _joined_trials(stores)
        if not gains:
            stack.enter_context(lock_folder(out))
        notes = {name: _united_note(stores, name) for name in (ENVIRONMENT, COVERAGE)}
        store = ComparisonResults.create(out, stores[0].spec, text)
        for name, note in notes.items():
            if note is not None:
                store.write_json_file(name, note)
        for trial, joined in trials.items():
            _write(store.run_folder(trial), joined)
        store.write_tables()
    return MergeResult(store, trials)


def _distinct(folders: Sequence[Path], out: Path) -> tuple[list[Path], bool]:
    """Each folder once, `out` among them (at the end) if it holds results; and whether it does."""
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"there is no folder {folder}; give folders that `compare` wrote.")
    gains = (out / QUESTION).exists()
    found: list[Path] = []
    for folder in [*folders, *([out] if gains else [])]:
        if not any(folder.samefile(known) for known in found):
            found.append(folder)
    if len(found) < 2:
        raise InputError("merge joins two or more different folders; give each machine's.")
    return found, gains


def _check_same_question(stores: Sequence[ComparisonResults]) -> None:
    first, *others = [store.spec.identity() for store in stores]
    for store, question in zip(stores[1:], others, strict=True):
        found = list(differences(first, question))
        if found:
            more = f"; and {len(found) - MOST_TOLD} more" if len(found) > MOST_TOLD else ""
            raise InputError(
                f"{stores[0].folder}{_made(stores[0])} and {store.folder}{_made(store)} hold the results of different "
                f"questions ({'; '.join(found[:MOST_TOLD])}{more}); merge joins results of one question."
            )


def _made(store: ComparisonResults) -> str:
    """How a store's question was made from its file, where that was not plainly."""
    spec = store.spec
    words = ([f"scale {spec.scale}"] if spec.scale else []) + [f"set {text}" for text in spec.overrides]
    return f" ({', '.join(words)})" if words else ""


@contextmanager
def _still(folder: Path) -> Iterator[None]:
    """Keep others from working on a folder that is read from. One that cannot be written has nobody at work."""
    lock = FileLock(folder / ".lock", timeout=0) if (folder / ".lock").exists() else nullcontext()
    with ExitStack() as stack:
        try:
            stack.enter_context(lock)
        except Timeout:
            raise ResultsError(f"another process works on {folder}; wait for it, or stop it first.") from None
        except OSError:
            pass
        yield


def _joined_trials(stores: Sequence[ComparisonResults]) -> dict[Trial, MergedTrial]:
    trials, clashes = {}, []
    for trial in stores[0].trials:
        runs = [TrialRun(store.run_folder(trial)) for store in stores]
        runs = [run for run in runs if run.holds_something]
        if not runs:
            continue
        joined, differing = merge_trial_runs(runs)
        trials[trial] = joined
        clashes += [f"{trial} in {joined.runs[0].folder} and {run.folder} ({why})" for run, why in differing]
    if clashes:
        more = f", and {len(clashes) - MOST_TOLD} more" if len(clashes) > MOST_TOLD else ""
        raise ResultsError(
            f"different finished trainings of one model: {', '.join(clashes[:MOST_TOLD])}{more}; choose by leaving "
            "one of the folders out, or by deleting the run folder that is not wanted."
        )
    return trials


def _united_note(stores: Sequence[ComparisonResults], name: str) -> Any:
    """All distinct environments in order; of other notes the first."""
    found = [note for store in stores if (note := store.read_json_file(name)) is not None]
    if name != ENVIRONMENT:
        return found[0] if found else None
    distinct: list[Any] = []
    for note in (note for notes in found for note in notes):
        if note not in distinct:
            distinct.append(note)
    return distinct or None


def _write(folder: Path, joined: MergedTrial) -> None:
    """Put a trial into its run folder so that each step leaves a trial that `compare` can go on with: what belongs to
    another training goes first, the file that says `finished` comes after what it needs, and the rows come last.
    """
    best = joined.runs[0]
    folder.mkdir(parents=True, exist_ok=True)
    own = any(run.folder.samefile(folder) for run in joined.runs)
    # All is read before anything is written: `folder` may be one of the runs.
    history, evaluations, failure = (
        max((run.history for run in joined.runs), key=len),
        joined.evaluations,
        joined.failure,
    )
    ranges = {
        name: found for run in reversed(joined.runs) for name, found in (read_json(run.folder / RANGES) or {}).items()
    }
    if best.finished or not folder.samefile(best.folder):
        (folder / UNFINISHED).unlink(missing_ok=True)
    if failure is None:
        (folder / FAILURE).unlink(missing_ok=True)
    _write_rows(folder / HISTORY, history)
    if ranges and ranges != read_json(folder / RANGES):
        atomic_write(folder / RANGES, json.dumps(ranges, indent=1))
    checkpoints = {path.name: path for run in reversed(joined.runs) for path in run.checkpoints}
    for name in sorted(checkpoints, key=lambda name: name == FINISHED):
        if not (own and (folder / name).exists()):  # it has the same weights
            atomic_link(checkpoints[name], folder / name)
    if not best.finished and (best.folder / UNFINISHED).exists():
        atomic_link(best.folder / UNFINISHED, folder / UNFINISHED)
    if failure is not None:
        atomic_write(folder / FAILURE, json.dumps({"reason": failure}))
    _write_rows(folder / EVALUATIONS, evaluations)


def _write_rows(path: Path, rows: list[Row]) -> None:
    if rows and rows != read_rows(path):
        atomic_write(path, "".join(json.dumps(row) + "\n" for row in rows))
