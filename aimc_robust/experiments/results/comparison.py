"""The results folder of a comparison: its spec, its runs and their rows."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from aimc_robust.errors import InputError, ResultsError
from aimc_robust.experiments.results.comparison_tables import COLUMNS, group_estimates, write_tables
from aimc_robust.experiments.results.dict_diff import dict_differences
from aimc_robust.experiments.results.filenames import EVALUATIONS, FAILURE, HISTORY, QUESTION, RANGES, SPEC
from aimc_robust.experiments.results.landscape_rows import missing_points, read_points
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.experiments.spec.comparison import ComparisonSpec
from aimc_robust.experiments.spec.landscape import LandscapeSpec
from aimc_robust.experiments.spec.loading import spec_from_dict
from aimc_robust.hardware.config.ranges import ConverterRanges
from aimc_robust.io.atomic import Row, append_rows, atomic_write, read_json, read_rows
from aimc_robust.statistics.accuracy_estimate import AccuracyEstimate
from aimc_robust.targets.target import Target
from aimc_robust.training.resumption import FINISHED


@dataclass(frozen=True)
class ComparisonResults:
    """Read and write the results folder of a comparison.

    Rows are the only source: every table is computed from them. `create` starts or continues a folder, `open` reads
    an existing one.

    Attributes:
        folder: The results folder.
        spec: The spec of the comparison.
    """

    folder: Path
    spec: ComparisonSpec

    @classmethod
    def create(cls, folder: Path, spec: ComparisonSpec, spec_text: str) -> "ComparisonResults":
        """Write the spec into a new folder, or one that is continued.

        Args:
            folder: The results folder.
            spec: The spec.
            spec_text: The spec as TOML text, kept for readers.

        Raises:
            ResultsError: see `check`.
        """
        results = cls(folder, spec)
        results.check()
        atomic_write(folder / QUESTION, json.dumps(spec.model_dump(mode="json"), indent=1))
        atomic_write(folder / SPEC, spec_text)
        return results

    @classmethod
    def open(cls, folder: Path) -> "ComparisonResults":
        """Open an existing folder.

        Raises:
            InputError: if the folder holds no results.
            ResultsError: if it holds an evaluation.
        """
        stored = _read_spec(folder)
        if stored is None:
            raise InputError(f"{folder} holds no comparison (no {QUESTION}); give a folder that `compare` wrote.")
        return cls(folder, spec_from_dict(stored, source=str(folder / QUESTION)))

    def check(self) -> None:
        """Check that the folder is new or holds results of the same spec.

        Raises:
            ResultsError: if it holds the results of another spec, or an evaluation.
        """
        stored = _read_spec(self.folder)
        if stored is None:
            return
        # Validated first: keys that a later version added get their defaults.
        identity = spec_from_dict(stored, source=str(self.folder / QUESTION)).identity()
        differences = list(dict_differences(identity, self.spec.identity()))
        if differences:
            raise ResultsError(
                f"{self.folder} holds the results of another spec, or of device cards that have changed since "
                f"(different: {'; '.join(differences[:3])}); give --out another folder."
            )

    # Spec ---------------------------------------------------------------------------------------------------------

    @property
    def trials(self) -> list[Trial]:
        """All trials, seed by seed, so that an early look compares all methods."""
        return [Trial(label, seed) for seed in self.spec.train_seeds for label in self.spec.labels]

    @cached_property
    def targets(self) -> list[Target]:
        """The targets, in the order of the spec."""
        return self.spec.build_targets()

    @property
    def landscapes(self) -> dict[str, LandscapeSpec]:
        """Name -> loss landscape."""
        return {landscape.name: landscape for landscape in self.spec.landscapes}

    # Rows of a trial ----------------------------------------------------------------------------------------------

    def run_folder(self, trial: Trial) -> Path:
        """Return the folder of a trial's checkpoint and rows."""
        return self.folder / "runs" / str(trial)

    def add_evaluations(self, trial: Trial, rows: Iterable[Row]) -> None:
        """Append evaluation rows, each whole or not at all."""
        folder = self.run_folder(trial)
        folder.mkdir(parents=True, exist_ok=True)
        append_rows(folder / EVALUATIONS, rows)

    def evaluations(self, trial: Trial) -> list[Row]:
        """Return a trial's evaluation rows, one per target and chip.

        A chip can be stored twice, if a cluster node that was considered dead continued; both rows are equal.
        """
        rows = read_rows(self.run_folder(trial) / EVALUATIONS)
        return list({(row["target"], row["chip"]): row for row in rows}.values())

    def is_evaluated(self, trial: Trial) -> bool:
        """Return whether a trial has every row that the spec requires."""
        done = {(row["target"], row["chip"]) for row in self.evaluations(trial)}
        return all(
            (t.name, chip) in done for t in self.targets for chip in range(t.chips(self.spec.chips))
        ) and not any(self.missing_points(trial).values())

    def missing_chips(self, trial: Trial, target: Target) -> list[int]:
        """Return the chips of a target that a trial has no row of."""
        done = {row["chip"] for row in self.evaluations(trial) if row["target"] == target.name}
        return [chip for chip in range(target.chips(self.spec.chips)) if chip not in done]

    def missing_points(self, trial: Trial) -> dict[str, list[int]]:
        """Return landscape -> the points of it that a trial has no row of."""
        rows = read_points(self.run_folder(trial)) if self.spec.landscapes else []
        return {landscape.name: missing_points(rows, landscape) for landscape in self.spec.landscapes}

    def mean_accuracies(self, trial: Trial) -> dict[str, float]:
        """Return target -> mean accuracy over a trial's chips [percent]."""
        accuracies: dict[str, list[float]] = {}
        for row in self.evaluations(trial):
            accuracies.setdefault(row["target"], []).append(row["accuracy"])
        return {name: sum(values) / len(values) for name, values in accuracies.items()}

    def is_trained(self, trial: Trial, folder: Path | None = None) -> bool:
        """Return whether a trial's training is finished.

        Args:
            trial: The trial.
            folder: Where it is trained, if not in its run folder.
        """
        return ((folder or self.run_folder(trial)) / FINISHED).exists()

    def history(self, trial: Trial, folder: Path | None = None) -> list[Row]:
        """Return a trial's training rows, one per epoch; of two rows of an epoch the later.

        Args:
            trial: The trial.
            folder: Where it is trained, if not in its run folder.
        """
        rows = read_rows((folder or self.run_folder(trial)) / HISTORY)
        return list({row["epoch"]: row for row in rows}.values())

    def histories(self) -> dict[Trial, list[Row]]:
        """Return the training rows of every trial."""
        return {trial: self.history(trial) for trial in self.trials}

    # Notes of a trial ---------------------------------------------------------------------------------------------

    def ranges(self, trial: Trial, target: str) -> ConverterRanges | None:
        """Return a model's converter ranges under a target, or None if they are not calibrated yet."""
        stored = read_json(self.run_folder(trial) / RANGES) or {}
        return ConverterRanges.from_json(stored[target]) if target in stored else None

    def save_ranges(self, trial: Trial, target: str, ranges: ConverterRanges) -> None:
        """Store a model's converter ranges under a target."""
        stored = read_json(self.run_folder(trial) / RANGES) or {}
        atomic_write(self.run_folder(trial) / RANGES, json.dumps(stored | {target: ranges.to_json()}, indent=1))

    def record_failure(self, trial: Trial, reason: str) -> None:
        """Store why a trial has no result."""
        folder = self.run_folder(trial)
        folder.mkdir(parents=True, exist_ok=True)
        atomic_write(folder / FAILURE, json.dumps({"reason": reason}))

    def failure(self, trial: Trial) -> str | None:
        """Return why a trial failed, or None."""
        stored = read_json(self.run_folder(trial) / FAILURE)
        return None if stored is None else str(stored["reason"])

    def clear_failure(self, trial: Trial) -> None:
        """Delete the record of a failure, so that the trial can run again."""
        (self.run_folder(trial) / FAILURE).unlink(missing_ok=True)

    # Tables and notes of the comparison ---------------------------------------------------------------------------

    def table(self) -> pd.DataFrame:
        """Return all evaluation rows, ordered by method, seed and target as in the spec, then by chip."""
        rank = {target.name: number for number, target in enumerate(self.targets)}
        rows = [
            row
            for label in self.spec.labels
            for seed in self.spec.train_seeds
            for row in sorted(
                self.evaluations(Trial(label, seed)),
                key=lambda row: (rank.get(row["target"], len(rank)), row["chip"]),
            )
        ]
        return pd.DataFrame(rows, columns=COLUMNS + (["top5"] if self.spec.top5 else []))

    def estimates(self, frame: pd.DataFrame) -> dict[tuple[str, str], AccuracyEstimate]:
        """Return (method, target) -> estimate.

        Args:
            frame: Result of `table`.
        """
        return group_estimates(frame)

    def write_tables(self) -> None:
        """Write evaluations.csv and summary.csv, computed from the rows alone."""
        frame = self.table()
        write_tables(self.folder, frame, self.estimates(frame))

    def write_json_file(self, name: str, value: Any) -> None:
        """Write a JSON file into the results folder."""
        atomic_write(self.folder / name, json.dumps(value, indent=1))

    def read_json_file(self, name: str) -> Any:
        """Return the value of a JSON file in the results folder, or None if it does not exist."""
        return read_json(self.folder / name)


def _read_spec(folder: Path) -> Any:
    """Return the spec stored in a folder, or None. Raises ResultsError if it is an evaluation's."""
    stored = read_json(folder / QUESTION)
    if isinstance(stored, dict) and "kind" in stored:
        raise ResultsError(f"{folder} holds an {stored['kind']}, not a comparison; give another folder.")
    return stored
