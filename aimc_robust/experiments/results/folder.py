"""A results folder: the spec, the rows of each trained model, and notes. Rows are the only source of every table."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import pandas as pd

from aimc_robust.errors import PROBLEM, AimcError, InputError, ResultsError
from aimc_robust.experiments.results.files import COVERAGE, ENVIRONMENT, EVALUATIONS, QUESTION, RANGES, read_file
from aimc_robust.experiments.results.origin import check_runs
from aimc_robust.experiments.results.rows import EXPLANATIONS, columns, finite, require_one_run, row_type
from aimc_robust.experiments.results.summary import group_estimates
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.experiments.spec.base import ExperimentSpec
from aimc_robust.hardware.config.ranges import ConverterRanges
from aimc_robust.io.atomic import Row, RowFile, append_rows, atomic_write, damaged, read_rows
from aimc_robust.io.csv_text import csv_text
from aimc_robust.statistics.estimate import Estimate
from aimc_robust.statistics.primary_metric import PrimaryMetric
from aimc_robust.targets.target import Target
from aimc_robust.tasks.task import Task

Spec = TypeVar("Spec", bound=ExperimentSpec)
Estimates = dict[tuple[str, str], Estimate]
"""(label of a model, name of a target) -> estimate."""

UNKNOWN_COVERAGE = f"not recorded (no {COVERAGE}; the same command writes it)"
UNKNOWN_ENVIRONMENT = {"environment": f"not recorded (no {ENVIRONMENT})"}


@dataclass(frozen=True)
class ResultsFolder(ABC, Generic[Spec]):
    """Read and write a results folder. `create` starts or continues one, `open` reads an existing one."""

    kind: ClassVar[str]
    command: ClassVar[str]
    folder: Path
    spec: Spec
    _row_files: dict[Path, RowFile] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    @abstractmethod
    def parse_spec(cls, stored: dict[str, Any]) -> Spec:
        """Validate the content of question.json: keys that a later version added get their defaults."""

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open an existing folder.

        Raises:
            InputError: if the folder holds no results.
            ResultsError: if it holds those of another kind of experiment.
        """
        stored = cls._stored_spec(folder)
        if stored is None:
            raise InputError(
                f"{folder} holds no {cls.kind} (no {QUESTION}); `{cls.command}` writes it, or give another folder."
            )
        return cls(folder, stored)

    @classmethod
    def create(cls, folder: Path, spec: Spec) -> Self:
        """Write the spec into a new folder, or one that is continued, see `check`."""
        results = cls(folder, spec)
        results.check()
        results.write_json_file(QUESTION, spec.model_dump(mode="json"))
        return results

    @classmethod
    def _stored_spec(cls, folder: Path) -> Spec | None:
        path = folder / QUESTION
        stored = read_file(path)
        if stored is None:
            return None
        kind = stored.get("kind")
        if kind != cls.kind:
            raise ResultsError(
                f"{folder} holds results of another kind ({kind}), not of `{cls.command}`; give another folder."
            )
        try:
            return cls.parse_spec(stored)
        except AimcError as error:
            reason = "; ".join(str(error).rstrip(".").split(PROBLEM))
            raise ResultsError(
                f"{path} does not fit this installation ({reason}); another version or an extended one wrote it, "
                "or it is damaged. Use that one, or restore the file."
            ) from None

    def check(self) -> None:
        """Raise ResultsError unless the folder is new or holds results that the spec continues."""
        stored = self._stored_spec(self.folder)
        differences = [] if stored is None else self.spec.differences_to_continue(stored)
        if differences:
            raise ResultsError(
                f"{self.folder} holds the results of another spec, or of device cards, files or code that have "
                f"changed since (different: {'; '.join(differences[:3])}); give --out another folder."
            )
        check_runs(self.folder, self.spec, is_recorded=stored is not None)

    # Spec ---------------------------------------------------------------------------------------------------------

    @property
    def trials(self) -> list[Trial]:
        """The trained models, in the order in which they are evaluated."""
        return self.spec.trials

    @cached_property
    def targets(self) -> list[Target]:
        """The targets, in the order of the spec."""
        return list(self.spec.build_targets())

    @cached_property
    def task(self) -> Task:
        """What the models are for."""
        return self.spec.task.build()

    @cached_property
    def metric(self) -> PrimaryMetric:
        """The metric that estimates, tables and reports are made of."""
        return self.spec.task.primary

    @cached_property
    def others(self) -> tuple[PrimaryMetric, ...]:
        """What is known of further columns: the loss, named metrics, and those of the task."""
        return (*Estimate.others, *self.task.others)

    @property
    def pilot(self) -> int | None:
        """Number of pilot chips that decided the number of chips; None: it is fixed."""
        return None

    # Rows ---------------------------------------------------------------------------------------------------------

    def run_folder(self, trial: Trial) -> Path:
        """Return the folder of a trained model's rows, and of its checkpoint if it was trained here."""
        return self.folder / "runs" / str(trial)

    def add_evaluations(self, trial: Trial, rows: Iterable[Row]) -> None:
        """Append evaluation rows, each whole or not at all."""
        folder = self.run_folder(trial)
        folder.mkdir(parents=True, exist_ok=True)
        append_rows(folder / EVALUATIONS, rows)

    def evaluations(self, trial: Trial) -> list[Row]:
        """Return a trained model's evaluation rows, one per target and chip, see `results.rows`."""
        path = self.run_folder(trial) / EVALUATIONS
        shape = row_type(self.metric.name, *self.metric.bounds)
        return require_one_run(path, self._row_files.setdefault(path, RowFile(path, shape)).read(), trial)

    def table(self) -> pd.DataFrame:
        """Return all evaluation rows, ordered by model, seed and target as in the spec, then by chip."""
        rank = {target.name: number for number, target in enumerate(self.targets)}
        trials = sorted(self.trials, key=lambda trial: self.spec.labels.index(trial.model))  # stable
        rows: list[Row] = []
        for trial in trials:
            rows += sorted(self.evaluations(trial), key=lambda row: (rank.get(row["target"], len(rank)), row["chip"]))
        first = columns(self.metric.name)
        frame = pd.DataFrame(rows, columns=None if rows else first)
        return frame[[*first, *(name for name in frame if name not in first)]]

    def estimates(self, frame: pd.DataFrame | None = None) -> Estimates:
        """Return (label, target) -> estimate over the spec's chips, where there are rows; of `frame`, see `table`."""
        frame = self.table() if frame is None else frame
        frame = frame[frame["chip"] < self.spec.chips]
        return group_estimates(frame, self.metric, pilot=self.pilot, others=self.others)

    def add_explanation(self, name: str, rows: Iterable[Row]) -> None:
        """Append rows to NAME.jsonl, one of EXPLANATIONS. Values that are not finite are stored as null."""
        append_rows(self.folder / f"{name}.jsonl", map(finite, rows))

    def explanation(self, name: str) -> pd.DataFrame:
        """Return the rows of NAME.jsonl, one of EXPLANATIONS; of rows with equal keys the last one."""
        frame = pd.DataFrame(read_rows(self.folder / f"{name}.jsonl", EXPLANATIONS[name]))
        keys = list(EXPLANATIONS[name].__annotations__)
        return frame if frame.empty else frame.drop_duplicates(keys, keep="last").reset_index(drop=True)

    @abstractmethod
    def tables(self) -> dict[str, pd.DataFrame]:
        """Return name -> table, computed from the rows alone."""

    def write_tables(self) -> None:
        """Write evaluations.csv, summary.csv, and NAME.csv of every other table that has rows."""
        for name, table in self.tables().items():
            if len(table) or name in ("evaluations", "summary"):
                atomic_write(self.folder / f"{name}.csv", csv_text(table))

    # Notes --------------------------------------------------------------------------------------------------------

    def ranges(self, trial: Trial, target: str) -> ConverterRanges | None:
        """Return a model's converter ranges under a target, or None if they are not calibrated yet."""
        path = self.run_folder(trial) / RANGES
        stored = read_file(path) or {}
        try:
            return ConverterRanges.from_json(stored[target]) if target in stored else None
        except InputError as error:
            raise damaged(path, str(error).rstrip(".")) from None

    def save_ranges(self, trial: Trial, target: str, ranges: ConverterRanges) -> None:
        """Store a model's converter ranges under a target."""
        path = self.run_folder(trial) / RANGES
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, json.dumps((read_file(path) or {}) | {target: ranges.to_json()}, indent=1))

    @property
    def environments(self) -> list[dict[str, Any]]:
        """The environments that computed these results, in order."""
        has_rows = any(self.folder.glob(f"runs/*/{EVALUATIONS}"))
        return self.read_json_file(ENVIRONMENT) or ([UNKNOWN_ENVIRONMENT] if has_rows else [])

    def record_environment(self, environment: Mapping[str, Any]) -> None:
        """Keep every distinct environment that computed these results, in order."""
        if environment not in self.environments:
            self.write_json_file(ENVIRONMENT, [*self.environments, environment])

    @property
    def coverage(self) -> str:
        """Which part of the network is analog, as a sentence."""
        return str((self.read_json_file(COVERAGE) or {}).get("line", UNKNOWN_COVERAGE))

    @property
    def mappings(self) -> list[dict[str, Any]]:
        """The arrays of each network on each crossbar, see `execution.array_mappings`; empty if not recorded."""
        return (self.read_json_file(COVERAGE) or {}).get("mappings", [])

    def record_coverage(self, sentence: str, mappings: Sequence[Mapping[str, Any]] = ()) -> None:
        """Store which part of the network is analog, and its arrays; those of other networks are kept."""
        kept = [old for old in self.mappings if all(old["network"] != new["network"] for new in mappings)]
        self.write_json_file(COVERAGE, {"line": sentence, "mappings": [*kept, *mappings]})

    def write_json_file(self, name: str, value: Any) -> None:
        """Write a JSON file into the results folder."""
        atomic_write(self.folder / name, json.dumps(value, indent=1))

    def read_json_file(self, name: str) -> Any:
        """Return the content of a JSON file in the results folder, or None if it does not exist, see `files`."""
        return read_file(self.folder / name)
