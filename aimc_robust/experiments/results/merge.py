"""Merge results of one comparison that were computed on different machines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from aimc_robust.errors import InputError, ResultsError
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.dict_diff import dict_differences
from aimc_robust.experiments.results.filenames import (
    COVERAGE,
    ENVIRONMENT,
    EVALUATIONS,
    FAILURE,
    HISTORY,
    LANDSCAPE,
    QUESTION,
    RANGES,
    SPEC,
)
from aimc_robust.experiments.results.locking import lock_folder
from aimc_robust.experiments.results.merge_runs import MergedTrial, TrialRun, merge_trial_runs
from aimc_robust.experiments.results.origin import merge_origins
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.io.atomic import Row, atomic_link, atomic_write, read_json, read_rows
from aimc_robust.training.resumption import FINISHED, UNFINISHED

MAX_LISTED = 3  # differences or conflicts that an error message lists


@dataclass(frozen=True)
class MergeResult:
    """The outcome of a merge.

    Attributes:
        results: The merged results folder.
        trials: The trials that have any content.
    """

    results: ComparisonResults
    trials: dict[Trial, MergedTrial]

    @property
    def finished(self) -> int:
        """Number of finished trainings."""
        return sum(trial.runs[0].finished for trial in self.trials.values())

    @property
    def rows(self) -> int:
        """Number of evaluation rows."""
        return sum(len(trial.evaluations) for trial in self.trials.values())


def merge(folders: Sequence[Path], out: Path) -> MergeResult:
    """Merge the results in `folders` into `out`.

    Of each trial the finished training is used, else the one that can resume from the most epochs. Rows of the same
    training are united. Two finished trainings are the same if their weights are equal, or, where one was published
    without weights, if all epochs and chips that both have show the same numbers. If weights are equal and rows are
    not, they differ by the rounding of the machines that evaluated them; the row of the earlier folder is used.

    A kill leaves complete files and no row without its training; the same call continues.

    Args:
        folders: Folders that `compare` wrote for the same spec.
        out: A new folder, or a results folder, to which the others are added.

    Raises:
        InputError: if a folder is missing, fewer than two differ, or they hold results of different specs.
        ResultsError: if finished trainings of one trial differ, or another process works on a folder. Nothing is
            written in any of these cases.
    """
    folders, out_has_results = _distinct_folders(folders, out)
    sources = [ComparisonResults.open(folder) for folder in folders]
    _check_same_spec(sources)
    spec_text = next((path.read_text(encoding="utf-8") for folder in folders if (path := folder / SPEC).exists()), "")
    with ExitStack() as stack:
        for folder in folders:
            is_out = out_has_results and out.samefile(folder)
            stack.enter_context(lock_folder(out) if is_out else _lock_source(folder))
        trials = _merge_trials(sources)
        if not out_has_results:
            stack.enter_context(lock_folder(out))
        notes = {name: _merged_note(sources, name) for name in (ENVIRONMENT, COVERAGE)}
        results = ComparisonResults.create(out, sources[0].spec)
        results.write_spec_text(spec_text)
        for name, note in notes.items():
            if note is not None:
                results.write_json_file(name, note)
        for trial, merged in trials.items():
            _write_trial(results.run_folder(trial), merged)
        results.write_tables()
    return MergeResult(results, trials)


def _distinct_folders(folders: Sequence[Path], out: Path) -> tuple[list[Path], bool]:
    """Return each folder once, with `out` last if it holds results; and whether it does."""
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"there is no folder {folder}; give folders that `compare` wrote.")
    out_has_results = (out / QUESTION).exists()
    distinct: list[Path] = []
    for folder in [*folders, *([out] if out_has_results else [])]:
        if not any(folder.samefile(other) for other in distinct):
            distinct.append(folder)
    if len(distinct) < 2:
        raise InputError("merge needs two or more different folders; give the folder of each machine.")
    return distinct, out_has_results


def _check_same_spec(sources: Sequence[ComparisonResults]) -> None:
    first, *others = [source.spec.identity() for source in sources]
    for source, identity in zip(sources[1:], others, strict=True):
        differences = list(dict_differences(first, identity))
        if differences:
            more = f"; and {len(differences) - MAX_LISTED} more" if len(differences) > MAX_LISTED else ""
            raise InputError(
                f"{sources[0].folder}{_spec_origin(sources[0])} and {source.folder}{_spec_origin(source)} hold the "
                f"results of different questions ({'; '.join(differences[:MAX_LISTED])}{more}); merge needs results "
                "of one question."
            )


def _spec_origin(results: ComparisonResults) -> str:
    """Return the scale and overrides of a spec in brackets, or nothing."""
    spec = results.spec
    changes = ([f"scale {spec.scale}"] if spec.scale else []) + [f"set {text}" for text in spec.overrides]
    return f" ({', '.join(changes)})" if changes else ""


@contextmanager
def _lock_source(folder: Path) -> Iterator[None]:
    """Lock a folder that is read. A folder that is not writable has no process at work and needs no lock."""
    path = folder / ".lock"
    lock: AbstractContextManager[object] = FileLock(path, timeout=0) if path.exists() else nullcontext()
    with ExitStack() as stack:
        try:
            stack.enter_context(lock)
        except Timeout:
            raise ResultsError(f"another process works on {folder}; wait for it, or stop it first.") from None
        except OSError:
            pass
        yield


def _merge_trials(sources: Sequence[ComparisonResults]) -> dict[Trial, MergedTrial]:
    trials: dict[Trial, MergedTrial] = {}
    conflicts: list[str] = []
    for trial in sources[0].trials:
        runs = [TrialRun(source.run_folder(trial)) for source in sources]
        runs = [run for run in runs if run.has_content]
        if not runs:
            continue
        merged, differing = merge_trial_runs(runs)
        trials[trial] = merged
        conflicts += [f"{trial} in {merged.runs[0].folder} and {run.folder} ({what})" for run, what in differing]
    if conflicts:
        more = f", and {len(conflicts) - MAX_LISTED} more" if len(conflicts) > MAX_LISTED else ""
        raise ResultsError(
            f"different finished trainings of one model: {', '.join(conflicts[:MAX_LISTED])}{more}; leave one of the "
            "folders out, or delete the run folder that is not wanted."
        )
    return trials


def _merged_note(sources: Sequence[ComparisonResults], name: str) -> Any:
    """Return all distinct environments in order; of other files the first."""
    notes = [note for source in sources if (note := source.read_json_file(name)) is not None]
    if name != ENVIRONMENT:
        return notes[0] if notes else None
    distinct: list[Any] = []
    for environment in (environment for environments in notes for environment in environments):
        if environment not in distinct:
            distinct.append(environment)
    return distinct or None


def _write_trial(folder: Path, merged: MergedTrial) -> None:
    """Write a trial into its run folder.

    The order of steps leaves a trial that `compare` can continue after a kill at any point: files of another training
    are deleted first, the file that marks the training as finished follows the files that it needs, rows come last.
    """
    best = merged.runs[0]
    folder.mkdir(parents=True, exist_ok=True)
    has_same_weights = any(run.folder.samefile(folder) for run in merged.runs)
    # Everything is read before anything is written: `folder` may be one of the runs.
    history = max((run.history for run in merged.runs), key=len)
    evaluations, points, failure = merged.evaluations, merged.points, merged.failure
    ranges = {
        name: stored for run in reversed(merged.runs) for name, stored in (read_json(run.folder / RANGES) or {}).items()
    }
    if best.finished or not folder.samefile(best.folder):
        (folder / UNFINISHED).unlink(missing_ok=True)
    if failure is None:
        (folder / FAILURE).unlink(missing_ok=True)
    _write_rows(folder / HISTORY, history)
    merge_origins([run.folder for run in merged.runs], folder)
    if ranges and ranges != read_json(folder / RANGES):
        atomic_write(folder / RANGES, json.dumps(ranges, indent=1))
    checkpoints = {path.name: path for run in reversed(merged.runs) for path in run.checkpoints}
    for name in sorted(checkpoints, key=lambda name: name == FINISHED):
        if not (has_same_weights and (folder / name).exists()):
            atomic_link(checkpoints[name], folder / name)
    if not best.finished and (best.folder / UNFINISHED).exists():
        atomic_link(best.folder / UNFINISHED, folder / UNFINISHED)
    if failure is not None:
        atomic_write(folder / FAILURE, json.dumps({"reason": failure}))
    _write_rows(folder / LANDSCAPE, points)
    _write_rows(folder / EVALUATIONS, evaluations)


def _write_rows(path: Path, rows: list[Row]) -> None:
    if rows and rows != read_rows(path):
        atomic_write(path, "".join(json.dumps(row) + "\n" for row in rows))
