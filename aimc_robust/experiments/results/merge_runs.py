"""Compare and merge what several results folders hold of one trial."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from aimc_robust.experiments.results.filenames import EVALUATIONS, FAILURE
from aimc_robust.experiments.results.landscape_rows import read_points
from aimc_robust.experiments.results.origin import differing_weights
from aimc_robust.io.atomic import Row, read_json, read_rows
from aimc_robust.models.checkpoint import read_checkpoint
from aimc_robust.training.resumption import FINISHED, MACHINE_DEPENDENT, UNFINISHED, read_history


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
        return read_history(self.folder)

    @cached_property
    def evaluations(self) -> list[Row]:
        """Evaluation rows, one per target and chip."""
        return read_rows(self.folder / EVALUATIONS)

    @cached_property
    def points(self) -> list[Row]:
        """Points of the loss landscapes."""
        return read_points(self.folder)

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
        return list(_by_key((row for run in self.runs for row in run.evaluations), "target", "chip").values())

    @cached_property
    def points(self) -> list[Row]:
        """Points of the loss landscapes of all runs; of the same point, the first one's."""
        return list(_by_key((row for run in self.runs for row in run.points), "landscape", "point").values())

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
    if (target := differing_weights(first.folder, second.folder)) is not None:
        return f"{target} was measured on other weights"
    epochs = list(zip(first.history, second.history, strict=False))
    for row, other in epochs:
        keys = [key for key in row if key in other and key not in MACHINE_DEPENDENT and row[key] != other[key]]
        if keys:
            return f"epoch {row['epoch']} has another {keys[0]}"
    common = 0
    for (name, number), ours, theirs in (
        (("target", "chip"), first.evaluations, second.evaluations),
        (("landscape", "point"), first.points, second.points),
    ):
        known, others = _by_key(ours, name, number), _by_key(theirs, name, number)
        for key in (key for key in known if key in others):
            common += 1
            if known[key] != others[key]:
                return f"{number} {key[1]} of {key[0]} has other numbers"
    return None if epochs or common else "they have no epochs, chips or weights in common to compare"


def _by_key(rows: Iterable[Row], name: str, number: str) -> dict[tuple[str, int], Row]:
    """Return (name, number) -> row, the first one of each."""
    unique: dict[tuple[str, int], Row] = {}
    for row in rows:
        unique.setdefault((row[name], row[number]), row)
    return unique


def _same_weights(first: Path, second: Path) -> bool:
    if first.samefile(second) or first.read_bytes() == second.read_bytes():
        return True
    (first_tensors, _), (second_tensors, _) = read_checkpoint(first), read_checkpoint(second)
    return first_tensors.keys() == second_tensors.keys() and all(
        torch.equal(first_tensors[name], second_tensors[name]) for name in first_tensors
    )
