"""Compare what several results folders hold of one trial, and write it into one run folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from aimc_robust.experiments.results.files import ANALYSIS, EVALUATIONS, FAILURE, HISTORY, LANDSCAPE, RANGES, read_file
from aimc_robust.experiments.results.origin import differing_weights, merge_origins
from aimc_robust.experiments.results.rows import read_analyses, read_evaluations, read_points
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.io.atomic import Row, atomic_link, atomic_write, read_rows
from aimc_robust.models.checkpoint import read_checkpoint
from aimc_robust.statistics.primary_metric import PrimaryMetric
from aimc_robust.training.resumption import FINISHED, MACHINE_DEPENDENT, UNFINISHED, read_history


@dataclass(frozen=True)
class TrialRun:
    """What one results folder holds of a trial; `metric` is the primary one."""

    folder: Path
    trial: Trial
    metric: PrimaryMetric

    @cached_property
    def history(self) -> list[Row]:
        """Training rows, one per epoch."""
        return read_history(self.folder)

    @cached_property
    def evaluations(self) -> dict[str, Row]:
        """A name such as `chip 3 of rram-wan2022` -> evaluation row."""
        rows = read_evaluations(self.folder, self.trial, self.metric)
        return {f"chip {row['chip']} of {row['target']}": row for row in rows}

    @cached_property
    def points(self) -> dict[str, Row]:
        """A name such as `point 3 of plane` -> point of a loss landscape."""
        rows = read_points(self.folder, self.metric.name)
        return {f"point {row['point']} of {row['landscape']}": row for row in rows}

    @cached_property
    def checkpoints(self) -> list[Path]:
        """Files of trained weights, one per selected epoch; empty in results that were published without weights."""
        return sorted(self.folder.glob("checkpoint*.safetensors"))

    @cached_property
    def failure(self) -> str | None:
        """Why the trial failed, or None."""
        return (read_file(self.folder / FAILURE) or {}).get("reason")

    @property
    def finished(self) -> bool:
        """Whether the training is finished. Only a finished one is evaluated."""
        return (self.folder / FINISHED).exists() or bool(self.evaluations or self.points)

    @property
    def rank(self) -> tuple[bool, bool, bool, int, bool]:
        """Sort key: the more complete the training, the greater."""
        can_resume = (self.folder / UNFINISHED).exists()
        return self.finished, bool(self.checkpoints), can_resume, len(self.history), self.failure is None

    @property
    def has_content(self) -> bool:
        """Whether there is anything to merge."""
        return self.finished or bool(self.history) or self.failure is not None


def select_runs(runs: Sequence[TrialRun]) -> tuple[list[TrialRun], list[tuple[TrialRun, str]]]:
    """Select the runs of a trial that are merged.

    Returns:
        First the run whose training is used, then those that add rows to it, in their order. And the finished runs of a
        different training, each with what differs.
    """
    best = max(runs, key=lambda run: run.rank)  # the first of equals
    if not best.finished:
        return [best], []
    differences = [(run, find_difference(best, run)) for run in runs if run is not best and run.finished]
    same_training = [run for run, difference in differences if difference is None]
    return [best, *same_training], [(run, difference) for run, difference in differences if difference is not None]


def find_difference(first: TrialRun, second: TrialRun) -> str | None:
    """Return what shows that two finished runs are different trainings; None if they are the same."""
    if first.checkpoints and second.checkpoints:
        names = {path.name for path in first.checkpoints} & {path.name for path in second.checkpoints}
        differing = [name for name in sorted(names) if not _same_weights(first.folder / name, second.folder / name)]
        return f"{differing[0]} has other weights" if differing else None
    if (target := differing_weights(first.folder, second.folder)) is not None:
        return f"{target} was measured on other weights"
    epochs = list(zip(first.history, second.history, strict=False))
    for row, other in epochs:
        keys = [key for key in row if key in other and key not in MACHINE_DEPENDENT and row[key] != other[key]]
        if keys:
            return f"epoch {row['epoch']} has another {keys[0]}"
    if contradiction := find_contradiction([first, second]):
        return f"{contradiction[0]} has other numbers"
    has_common_rows = first.evaluations.keys() & second.evaluations.keys() or first.points.keys() & second.points.keys()
    return None if epochs or has_common_rows else "they have no epochs, chips or weights in common to compare"


def find_contradiction(runs: Sequence[TrialRun]) -> tuple[str, TrialRun, TrialRun] | None:
    """Return the name of a chip or point with different rows, and the runs that have them; None if there is none."""
    known: dict[str, tuple[TrialRun, Row]] = {}
    for run in runs:
        for name, row in (run.evaluations | run.points).items():
            first, other = known.setdefault(name, (run, row))
            if row != other:
                return name, first, run
    return None


def write_merged(folder: Path, runs: Sequence[TrialRun]) -> None:
    """Write a trial, the result of `select_runs`, into its run folder.

    The order of steps leaves a trial that `compare` can continue after a kill at any point: files of another training
    are deleted first, the file that marks the training as finished follows the files that it needs, rows come last.
    """
    best = runs[0]
    folder.mkdir(parents=True, exist_ok=True)
    has_same_weights = any(run.folder.samefile(folder) for run in runs)
    # Everything is read before anything is written: `folder` may be one of the runs.
    history = max((run.history for run in runs), key=len)
    evaluations = {name: row for run in runs for name, row in run.evaluations.items()}
    points = {name: row for run in runs for name, row in run.points.items()}
    analyses = _unique_analyses(runs)
    failure = best.failure if all(run.failure for run in runs) else None  # some run may not have failed
    ranges = {name: stored for run in reversed(runs) for name, stored in (read_file(run.folder / RANGES) or {}).items()}
    if best.finished or not folder.samefile(best.folder):
        (folder / UNFINISHED).unlink(missing_ok=True)
    if failure is None:
        (folder / FAILURE).unlink(missing_ok=True)
    _write_rows(folder / HISTORY, history)
    merge_origins([run.folder for run in runs], folder)
    if ranges and ranges != read_file(folder / RANGES):
        atomic_write(folder / RANGES, json.dumps(ranges, indent=1))
    checkpoints = {path.name: path for run in reversed(runs) for path in run.checkpoints}
    for name in sorted(checkpoints, key=lambda name: name == FINISHED):
        if not (has_same_weights and (folder / name).exists()):
            atomic_link(checkpoints[name], folder / name)
    if not best.finished and (best.folder / UNFINISHED).exists():
        atomic_link(best.folder / UNFINISHED, folder / UNFINISHED)
    if failure is not None:
        atomic_write(folder / FAILURE, json.dumps({"reason": failure}))
    _write_rows(folder / LANDSCAPE, list(points.values()))
    _write_rows(folder / ANALYSIS, analyses)
    _write_rows(folder / EVALUATIONS, list(evaluations.values()))


def _unique_analyses(runs: Sequence[TrialRun]) -> list[Row]:
    unique: list[Row] = []
    for run in runs:
        unique += [row for row in read_analyses(run.folder) if row not in unique]
    return unique


def _write_rows(path: Path, rows: list[Row]) -> None:
    if rows and rows != read_rows(path):
        atomic_write(path, "".join(json.dumps(row) + "\n" for row in rows))


def _same_weights(first: Path, second: Path) -> bool:
    if first.samefile(second) or first.read_bytes() == second.read_bytes():
        return True
    (first_tensors, _), (second_tensors, _) = read_checkpoint(first), read_checkpoint(second)
    return first_tensors.keys() == second_tensors.keys() and all(
        torch.equal(first_tensors[name], second_tensors[name]) for name in first_tensors
    )
