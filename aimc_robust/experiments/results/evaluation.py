"""The folder of an evaluation: the question, the rows, the tables made from them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from aimc_robust.errors import InputError, ResultsError
from aimc_robust.experiments.results.filenames import COVERAGE, ENVIRONMENT, EVALUATIONS, QUESTION, RANGES
from aimc_robust.experiments.spec.evaluation import EvaluationSpec, TrainedModel
from aimc_robust.hardware.config.ranges import LayerRanges, ranges_from_json, ranges_to_json
from aimc_robust.io.atomic import Row, append_rows, atomic_write, read_json, read_rows
from aimc_robust.io.toml import parse
from aimc_robust.metrics import Measurement
from aimc_robust.statistics.accuracy_estimate import AccuracyEstimate
from aimc_robust.statistics.two_stage import DEFAULT_PILOT

NOTES = "notes.json"
# What names a row of each explanation; asked for again, say with more chips, the last answer counts.
KEYS = {
    "attribution": ["model", "target", "kind", "name"],
    "prediction": ["model", "target"],
    "prediction_layers": ["model", "target", "layer"],
    "validity": ["model", "target", "scale"],
}
Estimates = dict[tuple[str, str], AccuracyEstimate]
"""(label, target) -> estimate."""


@dataclass(frozen=True)
class EvaluationResults:
    """Reads and writes one folder. `create` for a run, `open` for what is there."""

    folder: Path
    question: EvaluationSpec

    @classmethod
    def create(cls, folder: Path, question: EvaluationSpec) -> EvaluationResults:
        """New, or continued with more chips. Raises ResultsError when the folder holds another question's rows."""
        kept = read_json(folder / QUESTION)
        if kept is not None and (not isinstance(kept, dict) or kept.get("kind") != "evaluation"):
            raise ResultsError(f"{folder} holds a comparison, not an evaluation; give --out another folder.")
        if kept is not None:
            known = parse(kept, EvaluationSpec, source=str(folder / QUESTION)).identity()
            differing = [key for key, value in question.identity().items() if known[key] != value]
            if differing:
                raise ResultsError(
                    f"{folder} holds the results of another question (different: {', '.join(differing)}); give --out "
                    "another folder."
                )
        atomic_write(folder / QUESTION, question.model_dump_json(indent=1))
        return cls(folder, question)

    @classmethod
    def open(cls, folder: Path) -> EvaluationResults:
        """Raises InputError when the folder holds no evaluation."""
        kept = read_json(folder / QUESTION)
        if not isinstance(kept, dict) or kept.get("kind") != "evaluation":
            raise InputError(f"{folder} holds no evaluation; give a folder that `evaluate` wrote.")
        return cls(folder, parse(kept, EvaluationSpec, source=str(folder / QUESTION)))

    # Rows -------------------------------------------------------------------------------------------------------

    def add(self, model: TrainedModel, target: str, time_s: float, chip: int, measured: Measurement) -> None:
        """Append one chip."""
        names = {"model": model.label, "seed": model.seed, "target": target, "time_s": time_s, "chip": chip}
        values = {key: value if _finite(value) else None for key, value in measured.row().items()}
        append_rows(self.folder / EVALUATIONS, [{**names, **values}])

    def known(self, model: TrainedModel, target: str) -> dict[int, float]:
        """Chip -> accuracy, of what is done."""
        mine = (model.label, model.seed, target)
        return {
            row["chip"]: row["accuracy"]
            for row in read_rows(self.folder / EVALUATIONS)
            if (row["model"], row["seed"], row["target"]) == mine
        }

    def table(self) -> pd.DataFrame:
        """All rows in the question's order of models and targets, then by chip."""
        frame = pd.DataFrame(read_rows(self.folder / EVALUATIONS))
        if frame.empty:
            return frame
        targets = [target.name for target in self.question.build_targets()]
        ranks = {"model": self.question.labels, "target": targets}
        keys = pd.DataFrame({key: frame[key].map({v: i for i, v in enumerate(known)}) for key, known in ranks.items()})
        keys[["seed", "chip"]] = frame[["seed", "chip"]]
        order = keys.sort_values(["model", "seed", "target", "chip"], kind="stable").index
        return frame.loc[order].reset_index(drop=True)

    def estimates(self) -> Estimates:
        """Of the chips that the question asks for; a model without rows under a target is not there."""
        frame = self.table()
        if frame.empty:
            return {}
        frame = frame[frame["chip"] < self.question.chips]
        pilot = None if self.question.precision is None else DEFAULT_PILOT
        groups = frame.groupby(["model", "target"], sort=False)
        return {key: AccuracyEstimate(rows.reset_index(drop=True), pilot=pilot) for key, rows in groups}

    # Notes ------------------------------------------------------------------------------------------------------

    def add_rows(self, name: str, rows: Iterable[Row]) -> None:
        """Append rows to NAME.jsonl, one of KEYS; what is not finite becomes null."""
        append_rows(
            self.folder / f"{name}.jsonl",
            [{key: value if _finite(value) else None for key, value in row.items()} for row in rows],
        )

    def rows(self, name: str) -> pd.DataFrame:
        """What `add_rows` appended, of each of KEYS the last."""
        frame = pd.DataFrame(read_rows(self.folder / f"{name}.jsonl"))
        return frame if frame.empty else frame.drop_duplicates(KEYS[name], keep="last").reset_index(drop=True)

    def write_json_file(self, name: str, value: Any) -> None:
        """Write a JSON file into the folder."""
        atomic_write(self.folder / name, json.dumps(value, indent=1))

    def note(self, name: str) -> Any:
        """What `write_json_file` wrote, or None."""
        return read_json(self.folder / name)

    @property
    def environments(self) -> list[dict[str, Any]]:
        """What worked on these results, in order."""
        return self.read_json_file(ENVIRONMENT) or []

    @property
    def coverage(self) -> str:
        """How much of the network is analog, in a sentence."""
        return (self.read_json_file(COVERAGE) or {}).get("line", "")

    def ranges(self, model: TrainedModel, target: str) -> dict[str, LayerRanges] | None:
        """A model's converter ranges under a target, or None before they were found."""
        kept = (self.read_json_file(RANGES) or {}).get(f"{model}: {target}")
        return None if kept is None else ranges_from_json(kept)

    def save_ranges(self, model: TrainedModel, target: str, ranges: Mapping[str, LayerRanges]) -> None:
        """Keep a model's converter ranges under a target."""
        self.write_json_file(RANGES, (self.read_json_file(RANGES) or {}) | {f"{model}: {target}": ranges_to_json(ranges)})


def _finite(value: Any) -> bool:
    return not isinstance(value, float) or abs(value) < float("inf")
