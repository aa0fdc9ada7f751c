"""Merge results of one comparison that were computed on different machines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from aimc_robust.errors import InputError, ResultsError
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.files import COVERAGE, ENVIRONMENT, QUESTION, SPEC, lock_folder
from aimc_robust.experiments.results.merge_runs import TrialRun, find_contradiction, select_runs, write_merged
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.experiments.spec.comparison import ComparisonSpec

MAX_LISTED = 3  # differences or conflicts that an error message lists


@dataclass(frozen=True)
class MergeResult:
    """The merged results folder, and numbers of finished trainings, started or failed ones, and evaluation rows."""

    results: ComparisonResults
    finished: int
    unfinished: int
    rows: int


def merge(folders: Sequence[Path], out: Path) -> MergeResult:
    """Merge the results in `folders` into `out`.

    Of each trial the finished training is used, else the one that can resume from the most epochs. Rows of the same
    training are united. Two finished trainings are the same if their weights are equal, or, where one was published
    without weights, if all epochs and chips that both have show the same numbers. Rows of a chip that differ though the
    weights are equal are refused: the order of the folders would decide.

    A kill leaves complete files and no row without its training; the same call continues.

    Args:
        folders: Folders that `compare` wrote for the same spec; their training seeds may differ.
        out: A new folder, or a results folder, to which the others are added.

    Raises:
        InputError: if a folder is missing, fewer than two differ, or they hold results of different specs.
        ResultsError: if finished trainings of one trial or rows of one chip differ, or another process works on a
            folder. Nothing is written in any of these cases.
    """
    folders, out_has_results = _distinct_folders(folders, out)
    sources = [ComparisonResults.open(folder) for folder in folders]
    _check_same_spec(sources)
    spec = _with_all_seeds(sources)
    texts = (path.read_text(encoding="utf-8") for folder in folders if (path := folder / SPEC).exists())
    spec_text = next(texts, None) if spec == sources[0].spec else None
    with ExitStack() as stack:
        for folder in folders:
            is_out = out_has_results and out.samefile(folder)
            stack.enter_context(lock_folder(out) if is_out else _lock_source(folder))
        trials = _select_runs(sources, spec.trials)
        if not out_has_results:
            stack.enter_context(lock_folder(out))
        notes = {name: _merged_note(sources, name) for name in (ENVIRONMENT, COVERAGE)}
        results = ComparisonResults.create(out, spec)
        results.write_spec_text(spec_text)
        for name, note in notes.items():
            if note is not None:
                results.write_json_file(name, note)
        for trial, runs in trials.items():
            write_merged(results.run_folder(trial), runs)
        results.write_tables()
    finished = sum(runs[0].finished for runs in trials.values())
    rows = sum(len(results.evaluations(trial)) for trial in trials)
    return MergeResult(results, finished, len(trials) - finished, rows)


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
    first = sources[0]
    for source in sources[1:]:
        differences = source.spec.differences_to_continue(first.spec)
        if differences:
            raise InputError(
                f"{first.folder}{_spec_origin(first)} and {source.folder}{_spec_origin(source)} hold the results of "
                f"different questions ({_listed(differences, '; ')}); merge needs results of one question."
            )


def _spec_origin(results: ComparisonResults) -> str:
    """Return the scale and overrides of a spec in brackets, or nothing."""
    spec = results.spec
    changes = ([f"scale {spec.scale}"] if spec.scale else []) + [f"set {text}" for text in spec.overrides]
    return f" ({', '.join(changes)})" if changes else ""


def _listed(texts: Sequence[str], separator: str) -> str:
    more = [f"and {len(texts) - MAX_LISTED} more"] if len(texts) > MAX_LISTED else []
    return separator.join([*texts[:MAX_LISTED], *more])


@contextmanager
def _lock_source(folder: Path) -> Iterator[None]:
    """Lock a folder that is read. One without a lock, or that is not writable, has no process at work."""
    path = folder / ".lock"
    with ExitStack() as stack:
        try:
            if path.exists():
                stack.enter_context(FileLock(path, timeout=0))
        except Timeout:
            raise ResultsError(f"another process works on {folder}; wait for it, or stop it first.") from None
        except OSError:
            pass
        yield


def _with_all_seeds(sources: Sequence[ComparisonResults]) -> ComparisonSpec:
    """Return the spec of all sources, with the training seeds of each."""
    seeds = dict.fromkeys(seed for source in sources for seed in source.spec.train_seeds)
    return sources[0].spec.model_copy(update={"train_seeds": list(seeds)})


def _select_runs(sources: Sequence[ComparisonResults], trials_of_all: Sequence[Trial]) -> dict[Trial, list[TrialRun]]:
    """Return the runs to merge of each trial that has any."""
    trials: dict[Trial, list[TrialRun]] = {}
    conflicts, contradictions = [], []
    for trial in trials_of_all:
        runs = [
            run for source in sources if (run := TrialRun(source.run_folder(trial), trial, source.metric)).has_content
        ]
        if runs:
            trials[trial], differing = select_runs(runs)
            conflicts += [f"{trial} in {trials[trial][0].folder} and {run.folder} ({what})" for run, what in differing]
            if contradiction := find_contradiction(trials[trial]):
                what, first, second = contradiction
                contradictions.append(f"{trial}, {what} in {first.folder} and {second.folder}")
    if conflicts:
        raise ResultsError(
            f"different finished trainings of one model: {_listed(conflicts, ', ')}; leave one of the folders out, or "
            "delete the run folder that is not wanted."
        )
    if contradictions:
        raise ResultsError(
            f"different numbers of the same weights: {_listed(contradictions, '; ')}. Leave one of the folders out, or "
            "delete the rows that are not wanted (evaluations.jsonl or landscape.jsonl of that run)."
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
