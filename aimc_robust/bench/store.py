"""The folder of a comparison: the question, the runs, and the rows, which are the truth."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from aimc_robust.bench.spec import Spec, load_spec
from aimc_robust.bench.tables import COLUMNS, summary
from aimc_robust.errors import InputError, ResultsError
from aimc_robust.files import Row, append_rows, read_rows, write_whole

SPEC, ENVIRONMENT, TARGETS = "spec.toml", "environment.json", "targets.json"
EVALUATIONS, HISTORY, FAILURE, COVERAGE = "evaluations.jsonl", "history.jsonl", "failed.json", "coverage.json"


@dataclass(frozen=True)
class Cell:
    """One trained model: a method's label and a seed."""

    method: str
    seed: int

    def __str__(self) -> str:
        return f"{self.method}-seed{self.seed}"


@dataclass(frozen=True)
class Store:
    """Reads and writes one results folder. `create` for a comparison, `open` for what is there."""

    folder: Path
    spec: Spec

    @classmethod
    def create(cls, folder: Path, spec: Spec, spec_text: str) -> "Store":
        """The store of `spec` in `folder`, new or continued.

        Raises ResultsError when the folder cannot be written, holds other files, or holds another spec's results.
        """
        store = cls(folder, spec)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not (folder / SPEC).exists() and any(not entry.name.startswith(".") for entry in folder.iterdir()):
                raise ResultsError(f"{folder} holds other files; give --out an empty or new folder.")
            if (folder / SPEC).exists() and load_spec(folder / SPEC) != spec:
                raise ResultsError(
                    f"{folder} holds the results of another spec (its spec.toml differs); give --out another folder."
                )
            store._write_question(spec_text)
        except ResultsError:
            raise
        except OSError as error:
            raise ResultsError(
                f"{folder} cannot be written ({error.strerror}); give --out a writable folder."
            ) from None
        return store

    @classmethod
    def open(cls, folder: Path) -> "Store":
        """The store in `folder`. Raises InputError when there is none."""
        if not (folder / SPEC).is_file():
            raise InputError(f"{folder} holds no comparison (no {SPEC}); give a folder that `compare` wrote.")
        return cls(folder, load_spec(folder / SPEC))

    def _write_question(self, spec_text: str) -> None:
        targets = [target.description() for target in self.spec.built_targets()]
        path = self.folder / TARGETS
        if path.exists() and json.loads(path.read_text()) != targets:
            raise ResultsError(
                f"{self.folder} holds results for device cards that have changed since; give --out another folder."
            )
        write_whole(self.folder / SPEC, spec_text)
        write_whole(path, json.dumps(targets, indent=1))

    @property
    def cells(self) -> list[Cell]:
        """All cells of the spec: seed by seed, so that an early look compares all methods."""
        return [Cell(label, seed) for seed in self.spec.seeds for label in self.spec.labels]

    def run_folder(self, cell: Cell) -> Path:
        """Where a cell keeps its checkpoint and rows."""
        return self.folder / "runs" / str(cell)

    def add_evaluations(self, cell: Cell, rows: Iterable[Row]) -> None:
        """Append evaluation rows, whole or not at all."""
        append_rows(self.run_folder(cell) / EVALUATIONS, rows)

    def evaluations(self, cell: Cell) -> list[Row]:
        """A cell's evaluation rows."""
        return read_rows(self.run_folder(cell) / EVALUATIONS)

    def history(self, cell: Cell) -> list[Row]:
        """A cell's training rows, one per epoch."""
        return read_rows(self.run_folder(cell) / HISTORY)

    def record_failure(self, cell: Cell, reason: str) -> None:
        """Note why a cell has no result."""
        write_whole(self.run_folder(cell) / FAILURE, json.dumps({"reason": reason}))

    def failure(self, cell: Cell) -> str | None:
        """Why a cell failed, or None."""
        path = self.run_folder(cell) / FAILURE
        return json.loads(path.read_text())["reason"] if path.exists() else None

    def forget_failure(self, cell: Cell) -> None:
        """Let a failed cell be tried again."""
        (self.run_folder(cell) / FAILURE).unlink(missing_ok=True)

    def table(self) -> pd.DataFrame:
        """All evaluation rows, in the spec's order of methods, seeds and targets, then by chip."""
        rows = [row for cell in self.cells for row in self.evaluations(cell)]
        frame = pd.DataFrame(rows, columns=COLUMNS)
        targets = [target.name for target in self.spec.built_targets()]
        ranks = {"method": self.spec.labels, "seed": self.spec.seeds, "target": targets}
        order = [frame[key].map({value: i for i, value in enumerate(known)}) for key, known in ranks.items()]
        keys = pd.concat([*order, frame["chip"]], axis=1)
        return frame.loc[keys.sort_values(list(keys.columns), kind="stable").index].reset_index(drop=True)

    def write_tables(self) -> None:
        """evaluations.csv and summary.csv, from the rows alone."""
        frame = self.table()
        write_whole(self.folder / "evaluations.csv", frame.to_csv(index=False))
        write_whole(self.folder / "summary.csv", summary(frame).to_csv(index=False))

    def write_note(self, name: str, value: Any) -> None:
        """Write a JSON file into the folder."""
        write_whole(self.folder / name, json.dumps(value, indent=1))

    def note(self, name: str) -> Any:
        """What `write_note` wrote, or None."""
        path = self.folder / name
        return json.loads(path.read_text()) if path.exists() else None
