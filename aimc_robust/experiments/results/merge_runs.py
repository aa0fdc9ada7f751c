"""Compare and merge what several results folders hold of one trial."""

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

MACHINE_DEPENDENT = ("seconds", "probe_seconds")  # columns in which two runs of one training may differ


@dataclass(frozen=True)
class TrialRun:
    """What one results folder holds of a trial.

    Attributes:
        folder: The run folder.
    """

    folder: Path

    @cached_property
    def history(self) -> list[Row]:
        """Training rows, one per epoch."""
        return read_rows(self.folder / HISTORY)

    @cached_property
    def evaluations(self) -> list[Row]:
        """Evaluation rows, one per target and chip."""
        return read_rows(self.folder / EVALUATIONS)

    @cached_property
    def checkpoints(self) -> list[Path]:
        """Files of trained weights, one per selected epoch; empty in results that were published without weights."""
        return sorted(self.folder.glob("checkpoint*.safetensors"))

    @cached_property
    def failure(self) -> str | None:
        """Why the trial failed, or None."""
        return (read_json(self.folder / FAILURE) or {}).get("reason")

    @property
    def finished(self) -> bool:
        """Whether the training is finished. Only a finished one is evaluated."""
        return (self.folder / FINISHED).exists() or bool(self.evaluations)

    @property
    def rank(self) -> tuple[bool, bool, bool, int, bool]:
        """Sort key: the more complete the training, the greater."""
        can_resume = (self.folder / UNFINISHED).exists()
        return self.finished, bool(self.checkpoints), can_resume, len(self.history), self.failure is None

    @property
    def has_content(self) -> bool:
        """Whether there is anything to merge."""
        return self.finished or bool(self.history) or self.failure is not None


@dataclass(frozen=True)
class MergedTrial:
    """A trial of the merged results.

    Attributes:
        runs: First the run whose training is used, then those that add rows to it.
    """

    runs: tuple[TrialRun, ...]

    @cached_property
    def evaluations(self) -> list[Row]:
        """Rows of all runs; if several have the same target and chip, the first one's."""
        rows: dict[tuple[str, int], Row] = {}
        for run in self.runs:
            for row in run.evaluations:
                rows.setdefault((row["target"], row["chip"]), row)
        return list(rows.values())

    @property
    def failure(self) -> str | None:
        """Why the trial has no result; None if some run did not fail."""
        reasons = [run.failure for run in self.runs]
        return reasons[0] if all(reasons) else None


def merge_trial_runs(runs: Sequence[TrialRun]) -> tuple[MergedTrial, list[tuple[TrialRun, str]]]:
    """Merge the runs of one trial.

    Args:
        runs: The runs, in the order of their folders.

    Returns:
        The merged trial, and the finished runs of a different training, each with what differs.
    """
    best = max(runs, key=lambda run: run.rank)  # the first of equals
    if not best.finished:
        return MergedTrial((best,)), []
    differences = [(run, find_difference(best, run)) for run in runs if run is not best and run.finished]
    # The best run comes first, as it has the weights; the others keep the order of the folders.
    same_training = tuple(run for run, difference in differences if difference is None)
    conflicts = [(run, difference) for run, difference in differences if difference is not None]
    return MergedTrial((best, *same_training)), conflicts


def find_difference(first: TrialRun, second: TrialRun) -> str | None:
    """Return what shows that two finished runs are different trainings; None if they are the same."""
    if first.checkpoints and second.checkpoints:
        names = {path.name for path in first.checkpoints} & {path.name for path in second.checkpoints}
        differing = [name for name in sorted(names) if not _same_weights(first.folder / name, second.folder / name)]
        return f"{differing[0]} has other weights" if differing else None
    epochs = list(zip(first.history, second.history, strict=False))
    for row, other in epochs:
        keys = [key for key in row if key in other and key not in MACHINE_DEPENDENT and row[key] != other[key]]
        if keys:
            return f"epoch {row['epoch']} has another {keys[0]}"
    rows = {(row["target"], row["chip"]): row for row in first.evaluations}
    chips = [(rows[key], row) for row in second.evaluations if (key := (row["target"], row["chip"])) in rows]
    for row, other in chips:
        if row != other:
            return f"chip {row['chip']} of {row['target']} has other numbers"
    return None if epochs or chips else "they have no epochs, chips or weights in common to compare"


def _same_weights(first: Path, second: Path) -> bool:
    if first.samefile(second) or first.read_bytes() == second.read_bytes():
        return True
    (first_tensors, _), (second_tensors, _) = read_checkpoint(first), read_checkpoint(second)
    return first_tensors.keys() == second_tensors.keys() and all(
        torch.equal(first_tensors[name], second_tensors[name]) for name in first_tensors
    )
