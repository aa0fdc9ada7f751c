"""The results folder of a comparison: rows of training and evaluation, and failures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import tomli_w

from aimc_robust.errors import ResultsError
from aimc_robust.experiments.results.files import FAILURE, QUESTION, SPEC, read_file
from aimc_robust.experiments.results.folder import ResultsFolder
from aimc_robust.experiments.results.rows import missing_points, read_analyses, read_points
from aimc_robust.experiments.results.summary import summary_table
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.experiments.spec.comparison import ComparisonSpec
from aimc_robust.experiments.spec.landscape import LandscapeSpec
from aimc_robust.experiments.spec.loading import spec_from_dict
from aimc_robust.io.atomic import Row, atomic_write
from aimc_robust.training.resumption import FINISHED, UNFINISHED, read_history


class ComparisonResults(ResultsFolder[ComparisonSpec]):
    """Read and write the results folder of a comparison, see `ResultsFolder`."""

    kind: ClassVar[str] = "comparison"
    command: ClassVar[str] = "compare"

    @classmethod
    def parse_spec(cls, stored: dict[str, Any]) -> ComparisonSpec:
        """Validate a stored spec."""
        return spec_from_dict(stored, source=QUESTION)

    def write_spec_text(self, text: str | None) -> None:
        """Write the spec as TOML text, for readers; None: make it from the spec."""
        atomic_write(self.folder / SPEC, text or tomli_w.dumps(self.spec.model_dump(mode="json", exclude_none=True)))

    @property
    def spec_text(self) -> str:
        """The spec as TOML text; raises ResultsError if it is missing."""
        if not (self.folder / SPEC).is_file():
            raise ResultsError(f"{self.folder} has no {SPEC}; run `compare` with its spec again, which writes it.")
        return (self.folder / SPEC).read_text(encoding="utf-8")

    @property
    def landscapes(self) -> dict[str, LandscapeSpec]:
        """Name -> loss landscape."""
        return {landscape.name: landscape for landscape in self.spec.landscapes}

    # Rows of a trial ----------------------------------------------------------------------------------------------

    def missing(self, trial: Trial) -> dict[str, list[int]]:
        """Return target or landscape -> chips or points that a trial has no row of, where it lacks some."""
        done = {(row["target"], row["chip"]) for row in self.evaluations(trial)}
        points = read_points(self.run_folder(trial), self.metric.name) if self.spec.landscapes else []
        missing = {
            target.name: [chip for chip in range(target.chips(self.spec.chips)) if (target.name, chip) not in done]
            for target in self.targets
        } | {landscape.name: missing_points(points, landscape) for landscape in self.spec.landscapes}
        return {name: numbers for name, numbers in missing.items() if numbers}

    def analyses(self, trial: Trial) -> dict[str, Row]:
        """Return split -> the last row of `analyze` of a trial."""
        return {row["settings"]["split"]: row for row in read_analyses(self.run_folder(trial))}

    def is_evaluated(self, trial: Trial) -> bool:
        """Return whether a trial has every row that the spec requires."""
        return not self.missing(trial)

    def means(self, trial: Trial) -> dict[str, float]:
        """Return target -> mean of the primary metric over a trial's chips."""
        values: dict[str, list[float]] = {}
        for row in self.evaluations(trial):
            values.setdefault(row["target"], []).append(row[self.metric.name])
        return {name: sum(chips) / len(chips) for name, chips in values.items()}

    def training_folder(self, trial: Trial, model_cache: Path | None) -> Path:
        """Return where a trial is trained: in the cache of models that comparisons share, unless it started here."""
        run_folder = self.run_folder(trial)
        if model_cache is None or any((run_folder / name).exists() for name in (FINISHED, UNFINISHED)):
            return run_folder
        return model_cache / self.spec.recipe(trial.model, trial.train_seed)

    def is_trained(self, trial: Trial, folder: Path | None = None) -> bool:
        """Return whether a trial's training is finished, in `folder` if it is not trained in its run folder."""
        return ((folder or self.run_folder(trial)) / FINISHED).exists()

    def history(self, trial: Trial, folder: Path | None = None) -> list[Row]:
        """Return a trial's training rows, one per epoch, from `folder` if it is not trained in its run folder."""
        return read_history(folder or self.run_folder(trial))

    def histories(self) -> dict[Trial, list[Row]]:
        """Return the training rows of every trial."""
        return {trial: self.history(trial) for trial in self.trials}

    # Failures -----------------------------------------------------------------------------------------------------

    def record_failure(self, trial: Trial, reason: str) -> None:
        """Store why a trial has no result."""
        folder = self.run_folder(trial)
        folder.mkdir(parents=True, exist_ok=True)
        atomic_write(folder / FAILURE, json.dumps({"reason": reason}))

    def failure(self, trial: Trial) -> str | None:
        """Return why a trial failed, or None."""
        stored = read_file(self.run_folder(trial) / FAILURE)
        return None if stored is None else str(stored["reason"])

    def clear_failure(self, trial: Trial) -> None:
        """Delete the record of a failure, so that the trial can run again."""
        (self.run_folder(trial) / FAILURE).unlink(missing_ok=True)

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return the tables, see `ResultsFolder.write_tables`."""
        frame = self.table()
        return {"evaluations": frame, "summary": summary_table(self.estimates(frame))}
