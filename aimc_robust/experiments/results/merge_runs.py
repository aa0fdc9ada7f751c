"""What two folders hold of the same trial: which training is taken, and whether two are the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from aimc_robust.experiments.results.filenames import EVALUATIONS, FAILURE, HISTORY
from aimc_robust.io.atomic import Row, read_json, read_rows
from aimc_robust.models.checkpoint import read_checkpoint
from aimc_robust.training.resumption import FINISHED, UNFINISHED

OF_THE_MACHINE = ("seconds", "probe_seconds")  # what two runs of one training need not share


@dataclass(frozen=True)
class TrialRun:
    """What one folder holds of a trial."""

    folder: Path

    @cached_property
    def history(self) -> list[Row]:
        """A row per epoch."""
        return read_rows(self.folder / HISTORY)

    @cached_property
    def evaluations(self) -> list[Row]:
        """A row per target and chip."""
        return read_rows(self.folder / EVALUATIONS)

    @cached_property
    def checkpoints(self) -> list[Path]:
        """The trained weights, one file for each epoch that was kept; none in results that were published without."""
        return sorted(self.folder.glob("checkpoint*.safetensors"))

    @cached_property
    def failure(self) -> str | None:
        """Why it failed, or None."""
        return (read_json(self.folder / FAILURE) or {}).get("reason")

    @property
    def finished(self) -> bool:
        """Whether the training is: only a finished one is evaluated."""
        return (self.folder / FINISHED).exists() or bool(self.evaluations)

    @property
    def rank(self) -> tuple[bool, bool, bool, int, bool]:
        """The greater, the more of a training this is."""
        goes_on = (self.folder / UNFINISHED).exists()
        return self.finished, bool(self.checkpoints), goes_on, len(self.history), self.failure is None

    @property
    def holds_something(self) -> bool:
        """Whether there is anything to take."""
        return self.finished or bool(self.history) or self.failure is not None


@dataclass(frozen=True)
class MergedTrial:
    """A trial of the result: the run that its training is taken from, first, and those that add rows to it."""

    runs: tuple[TrialRun, ...]

    @cached_property
    def evaluations(self) -> list[Row]:
        """The rows of all runs; where two have a target's chip, the first's (see `merge`)."""
        rows: dict[tuple[str, int], Row] = {}
        for run in self.runs:
            for row in run.evaluations:
                rows.setdefault((row["target"], row["chip"]), row)
        return list(rows.values())

    @property
    def failure(self) -> str | None:
        """Why the trial has no result, when no run has a better answer."""
        reasons = [run.failure for run in self.runs]
        return reasons[0] if all(reasons) else None


def merge_trial_runs(runs: Sequence[TrialRun]) -> tuple[MergedTrial, list[tuple[TrialRun, str]]]:
    """The trial that these runs make together, and the finished runs of another training, each with what differs."""
    best = max(runs, key=lambda run: run.rank)  # the first of equals
    if not best.finished:
        return MergedTrial((best,)), []
    told = [(run, find_difference(best, run)) for run in runs if run is not best and run.finished]
    # In the order of the folders, but for the best: it has the weights.
    same = tuple(run for run, why in told if why is None)
    return MergedTrial((best, *same)), [(run, why) for run, why in told if why is not None]


def find_difference(one: TrialRun, other: TrialRun) -> str | None:
    """What shows that two finished runs are different trainings; None when they are the same."""
    if one.checkpoints and other.checkpoints:
        shared = {path.name for path in one.checkpoints} & {path.name for path in other.checkpoints}
        apart = [name for name in sorted(shared) if not _same_weights(one.folder / name, other.folder / name)]
        return f"{apart[0]} has other weights" if apart else None
    epochs = list(zip(one.history, other.history, strict=False))
    for row, same in epochs:
        keys = [key for key in row if key in same and key not in OF_THE_MACHINE and row[key] != same[key]]
        if keys:
            return f"epoch {row['epoch']} has another {keys[0]}"
    known = {(row["target"], row["chip"]): row for row in one.evaluations}
    shared = [(known[key], row) for row in other.evaluations if (key := (row["target"], row["chip"])) in known]
    for row, same in shared:
        if row != same:
            return f"chip {row['chip']} of {row['target']} has other numbers"
    return None if epochs or shared else "there are no epochs, chips or weights that both have to tell by"


def _same_weights(path: Path, other: Path) -> bool:
    if path.samefile(other) or path.read_bytes() == other.read_bytes():
        return True
    (one, _), (two, _) = read_checkpoint(path), read_checkpoint(other)
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
