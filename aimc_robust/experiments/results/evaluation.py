"""The results folder of an evaluation: its spec, its rows and the tables computed from them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from aimc_robust.errors import InputError, ResultsError
from aimc_robust.experiments.results.filenames import COVERAGE, ENVIRONMENT, EVALUATIONS, QUESTION, RANGES
from aimc_robust.experiments.spec.evaluation import EvaluationSpec, TrainedModel
from aimc_robust.hardware.config.ranges import ConverterRanges
from aimc_robust.io.atomic import Row, append_rows, atomic_write, read_json, read_rows
from aimc_robust.io.toml import parse
from aimc_robust.metrics import Measurement
from aimc_robust.statistics.accuracy_estimate import AccuracyEstimate
from aimc_robust.statistics.two_stage_sampling import DEFAULT_PILOT

NOTES = "notes.json"
# Columns that identify a row of each explanation; of several rows, say with more chips, the last one counts.
EXPLANATION_KEYS = {
    "attribution": ["model", "target", "kind", "name"],
    "prediction": ["model", "target"],
    "prediction_layers": ["model", "target", "layer"],
    "validity": ["model", "target", "scale"],
}
Estimates = dict[tuple[str, str], AccuracyEstimate]
"""(label, target) -> estimate."""


@dataclass(frozen=True)
class EvaluationResults:
    """Read and write the results folder of an evaluation.

    `create` starts or continues a folder, `open` reads an existing one.

    Attributes:
        folder: The results folder.
        spec: The spec of the evaluation.
    """

    folder: Path
    spec: EvaluationSpec

    @classmethod
    def create(cls, folder: Path, spec: EvaluationSpec) -> EvaluationResults:
        """Write the spec into a new folder, or one that is continued, say with more chips.

        Raises:
            ResultsError: if the folder holds the results of another spec, or a comparison.
        """
        stored = read_json(folder / QUESTION)
        if stored is not None and (not isinstance(stored, dict) or stored.get("kind") != "evaluation"):
            raise ResultsError(f"{folder} holds a comparison, not an evaluation; give --out another folder.")
        if stored is not None:
            identity = parse(stored, EvaluationSpec, source=str(folder / QUESTION)).identity()
            differing = [key for key, value in spec.identity().items() if identity[key] != value]
            if differing:
                raise ResultsError(
                    f"{folder} holds the results of another question (different: {', '.join(differing)}); give --out "
                    "another folder."
                )
        atomic_write(folder / QUESTION, spec.model_dump_json(indent=1))
        return cls(folder, spec)

    @classmethod
    def open(cls, folder: Path) -> EvaluationResults:
        """Open an existing folder.

        Raises:
            InputError: if the folder holds no evaluation.
        """
        stored = read_json(folder / QUESTION)
        if not isinstance(stored, dict) or stored.get("kind") != "evaluation":
            raise InputError(f"{folder} holds no evaluation; give a folder that `evaluate` wrote.")
        return cls(folder, parse(stored, EvaluationSpec, source=str(folder / QUESTION)))

    # Rows of chips ------------------------------------------------------------------------------------------------

    def add_chip(self, model: TrainedModel, target: str, time_s: float, chip: int, measured: Measurement) -> None:
        """Append the row of one chip.

        Args:
            model: The trained model.
            target: Name of the target.
            time_s: Time since programming [s].
            chip: Number of the chip.
            measured: What was measured on it.
        """
        names = {"model": model.label, "seed": model.seed, "target": target, "time_s": time_s, "chip": chip}
        values = {key: value if _is_finite(value) else None for key, value in measured.row().items()}
        append_rows(self.folder / EVALUATIONS, [{**names, **values}])

    def accuracies(self, model: TrainedModel, target: str) -> dict[int, float]:
        """Return chip -> accuracy [percent] of a model under a target, for the chips that have a row."""
        key = (model.label, model.seed, target)
        return {
            row["chip"]: row["accuracy"]
            for row in read_rows(self.folder / EVALUATIONS)
            if (row["model"], row["seed"], row["target"]) == key
        }

    def table(self) -> pd.DataFrame:
        """Return all rows, ordered by model and target as in the spec, then by chip."""
        frame = pd.DataFrame(read_rows(self.folder / EVALUATIONS))
        if frame.empty:
            return frame
        targets = [target.name for target in self.spec.build_targets()]
        orders = {"model": self.spec.labels, "target": targets}
        keys = pd.DataFrame({key: frame[key].map({v: i for i, v in enumerate(order)}) for key, order in orders.items()})
        keys[["seed", "chip"]] = frame[["seed", "chip"]]
        order = keys.sort_values(["model", "seed", "target", "chip"], kind="stable").index
        return frame.loc[order].reset_index(drop=True)

    def estimates(self) -> Estimates:
        """Return (label, target) -> estimate over the spec's chips, where there are rows."""
        frame = self.table()
        if frame.empty:
            return {}
        frame = frame[frame["chip"] < self.spec.chips]
        pilot = None if self.spec.precision is None else DEFAULT_PILOT
        return {
            (str(label), str(target)): AccuracyEstimate(rows.reset_index(drop=True), pilot=pilot)
            for (label, target), rows in frame.groupby(["model", "target"], sort=False)
        }

    # Explanations -------------------------------------------------------------------------------------------------

    def add_explanation(self, name: str, rows: Iterable[Row]) -> None:
        """Append rows to NAME.jsonl. Values that are not finite are stored as null.

        Args:
            name: One of EXPLANATION_KEYS.
            rows: The rows.
        """
        append_rows(
            self.folder / f"{name}.jsonl",
            [{key: value if _is_finite(value) else None for key, value in row.items()} for row in rows],
        )

    def explanation(self, name: str) -> pd.DataFrame:
        """Return the rows of NAME.jsonl; of rows with equal keys (see EXPLANATION_KEYS) the last one."""
        frame = pd.DataFrame(read_rows(self.folder / f"{name}.jsonl"))
        return (
            frame if frame.empty else frame.drop_duplicates(EXPLANATION_KEYS[name], keep="last").reset_index(drop=True)
        )

    # Notes --------------------------------------------------------------------------------------------------------

    def write_json_file(self, name: str, value: Any) -> None:
        """Write a JSON file into the results folder."""
        atomic_write(self.folder / name, json.dumps(value, indent=1))

    def read_json_file(self, name: str) -> Any:
        """Return the value of a JSON file in the results folder, or None if it does not exist."""
        return read_json(self.folder / name)

    @property
    def environments(self) -> list[dict[str, Any]]:
        """The environments that computed these results, in order."""
        return self.read_json_file(ENVIRONMENT) or []

    @property
    def coverage(self) -> str:
        """Which part of the network is analog, as a sentence."""
        return str((self.read_json_file(COVERAGE) or {}).get("line", ""))

    def ranges(self, model: TrainedModel, target: str) -> ConverterRanges | None:
        """Return a model's converter ranges under a target, or None if they are not calibrated yet."""
        stored = (self.read_json_file(RANGES) or {}).get(f"{model}: {target}")
        return None if stored is None else ConverterRanges.from_json(stored)

    def save_ranges(self, model: TrainedModel, target: str, ranges: ConverterRanges) -> None:
        """Store a model's converter ranges under a target."""
        stored = self.read_json_file(RANGES) or {}
        self.write_json_file(RANGES, stored | {f"{model}: {target}": ranges.to_json()})


def _is_finite(value: Any) -> bool:
    return not isinstance(value, float) or abs(value) < float("inf")
