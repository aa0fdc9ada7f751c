"""The folder of a comparison: the question, the runs, and the rows, which are the truth."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from aimc_robust.errors import InputError, ResultsError
from aimc_robust.experiments.results.comparison_tables import COLUMNS, group_estimates, summary_table
from aimc_robust.experiments.results.dict_diff import differences
from aimc_robust.experiments.results.filenames import EVALUATIONS, FAILURE, HISTORY, QUESTION, RANGES, SPEC
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.experiments.spec.comparison import ComparisonSpec, spec_from_dict
from aimc_robust.hardware.config.ranges import LayerRanges, ranges_from_json, ranges_to_json
from aimc_robust.io.atomic import Row, append_rows, atomic_write, read_json, read_rows
from aimc_robust.statistics.accuracy_estimate import AccuracyEstimate
from aimc_robust.targets.target import Target
from aimc_robust.training.resumption import FINISHED


def _comparison(folder: Path) -> Any:
    """The question kept in a folder, or None. Raises ResultsError when it is an evaluation's."""
    kept = read_json(folder / QUESTION)
    if isinstance(kept, dict) and "kind" in kept:
        raise ResultsError(f"{folder} holds an {kept['kind']}, not a comparison; give another folder.")
    return kept


@dataclass(frozen=True)
class ComparisonResults:
    """Reads and writes one results folder. `create` for a comparison, `open` for what is there."""

    folder: Path
    spec: ComparisonSpec

    @classmethod
    def create(cls, folder: Path, spec: ComparisonSpec, spec_text: str) -> "Store":
        """The store of `spec` in `folder`, new or continued. Raises as `check`."""
        store = cls(folder, spec)
        store.check()
        atomic_write(folder / QUESTION, json.dumps(spec.model_dump(mode="json"), indent=1))
        atomic_write(folder / SPEC, spec_text)
        return store

    def check(self) -> None:
        """Raise ResultsError when the folder holds another spec's results."""
        kept = _comparison(self.folder)
        if kept is None:
            return
        # Read as a spec: one that an older version kept lacks the keys that came since, which then have their defaults.
        known = spec_from_dict(kept, source=str(self.folder / QUESTION)).asked()
        found = list(differences(known, self.spec.identity()))
        if found:
            raise ResultsError(
                f"{self.folder} holds the results of another spec, or of device cards that have changed since "
                f"(different: {'; '.join(found[:3])}); give --out another folder."
            )

    @classmethod
    def open(cls, folder: Path) -> "Store":
        """The store in `folder`. Raises InputError when there is none."""
        question = _comparison(folder)
        if question is None:
            raise InputError(f"{folder} holds no comparison (no {QUESTION}); give a folder that `compare` wrote.")
        return cls(folder, spec_from_dict(question, source=str(folder / QUESTION)))

    @property
    def trials(self) -> list[Trial]:
        """All trials of the spec: seed by seed, so that an early look compares all methods."""
        return [Trial(label, seed) for seed in self.spec.train_seeds for label in self.spec.labels]

    def run_folder(self, trial: Trial) -> Path:
        """Where a trial keeps its checkpoint and rows."""
        return self.folder / "runs" / str(trial)

    def add_evaluations(self, trial: Trial, rows: Iterable[Row]) -> None:
        """Append evaluation rows, whole or not at all."""
        folder = self.run_folder(trial)
        folder.mkdir(parents=True, exist_ok=True)
        append_rows(folder / EVALUATIONS, rows)

    def evaluations(self, trial: Trial) -> list[Row]:
        """A trial's evaluation rows, one for each chip of a target.

        A chip that is there twice (a node of a cluster that was taken for dead went on) counts once: both are equal.
        """
        rows = read_rows(self.run_folder(trial) / EVALUATIONS)
        return list({(row["target"], row["chip"]): row for row in rows}.values())

    def is_trained(self, trial: Trial, folder: Path | None = None) -> bool:
        """Whether a trial's training is finished. folder: where it trains, if not in its run folder."""
        return ((folder or self.run_folder(trial)) / FINISHED).exists()

    @cached_property
    def targets(self) -> list[Target]:
        """The targets in the spec's order."""
        return self.spec.build_targets()

    @cached_property
    def landscapes(self) -> dict[str, Target]:
        """Those of the targets whose rows are places around the weights, not chips."""
        return {target.name: target for target in self.targets if target.landscape is not None}

    def is_evaluated(self, trial: Trial) -> bool:
        """Whether a trial has every row that the spec asks for."""
        done = {(row["target"], row["chip"]) for row in self.evaluations(trial)}
        return all((t.name, chip) in done for t in self.targets for chip in range(t.chips(self.spec.chips)))

    def missing_chips(self, trial: Trial, target: Target) -> list[int]:
        """The chips of a target that a trial has no row of yet."""
        done = {row["chip"] for row in self.evaluations(trial) if row["target"] == target.name}
        return [chip for chip in range(target.chips(self.spec.chips)) if chip not in done]

    def mean_accuracies(self, trial: Trial) -> dict[str, float]:
        """Target -> a trial's mean accuracy over the chips [percent]; a landscape has none."""
        accuracies: dict[str, list[float]] = {}
        for row in self.evaluations(trial):
            if row["target"] in self.landscapes:
                continue
            accuracies.setdefault(row["target"], []).append(row["accuracy"])
        return {name: sum(values) / len(values) for name, values in accuracies.items()}

    def history(self, trial: Trial, folder: Path | None = None) -> list[Row]:
        """A trial's training rows, one per epoch (of two the later). folder: where it trains, if not its run folder."""
        rows = read_rows((folder or self.run_folder(trial)) / HISTORY)
        return list({row["epoch"]: row for row in rows}.values())

    def histories(self) -> dict[Trial, list[Row]]:
        """Every trial's training rows."""
        return {trial: self.history(trial) for trial in self.trials}

    def ranges(self, trial: Trial, target: str) -> dict[str, LayerRanges] | None:
        """A model's converter ranges under a target, or None before they were found."""
        kept = read_json(self.run_folder(trial) / RANGES) or {}
        return ranges_from_json(kept[target]) if target in kept else None

    def save_ranges(self, trial: Trial, target: str, ranges: Mapping[str, LayerRanges]) -> None:
        """Keep a model's converter ranges under a target."""
        kept = read_json(self.run_folder(trial) / RANGES) or {}
        atomic_write(self.run_folder(trial) / RANGES, json.dumps(kept | {target: ranges_to_json(ranges)}, indent=1))

    def record_failure(self, trial: Trial, reason: str) -> None:
        """Note why a trial has no result."""
        folder = self.run_folder(trial)
        folder.mkdir(parents=True, exist_ok=True)
        atomic_write(folder / FAILURE, json.dumps({"reason": reason}))

    def failure(self, trial: Trial) -> str | None:
        """Why a trial failed, or None."""
        note = read_json(self.run_folder(trial) / FAILURE)
        return None if note is None else note["reason"]

    def clear_failure(self, trial: Trial) -> None:
        """Let a failed trial be tried again."""
        (self.run_folder(trial) / FAILURE).unlink(missing_ok=True)

    def table(self) -> pd.DataFrame:
        """All evaluation rows, in the spec's order of methods, seeds and targets, then by chip."""
        rank = {target.name: number for number, target in enumerate(self.targets)}
        place = lambda row: (rank.get(row["target"], len(rank)), row["chip"])  # noqa: E731
        trials = [Trial(label, seed) for label in self.spec.labels for seed in self.spec.train_seeds]
        rows = [row for trial in trials for row in sorted(self.evaluations(trial), key=place)]
        return pd.DataFrame(rows, columns=COLUMNS + (["top5"] if self.spec.top5 else []))

    def group_estimates(self, frame: pd.DataFrame) -> dict[tuple[str, str], AccuracyEstimate]:
        """(method, target) -> estimate, of the rows of `table`."""
        return group_estimates(frame[~frame["target"].isin(self.landscapes)] if self.landscapes else frame)

    def write_tables(self) -> None:
        """evaluations.csv and summary.csv, from the rows alone."""
        frame = self.table()
        atomic_write(self.folder / "evaluations.csv", frame.to_csv(index=False))
        atomic_write(self.folder / "summary.csv", summary_table(self.estimates(frame)).to_csv(index=False))

    def write_json_file(self, name: str, value: Any) -> None:
        """Write a JSON file into the folder."""
        atomic_write(self.folder / name, json.dumps(value, indent=1))

    def note(self, name: str) -> Any:
        """What `write_json_file` wrote, or None."""
        return read_json(self.folder / name)
