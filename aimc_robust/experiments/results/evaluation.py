"""The results folder of an evaluation: rows of chips, of what explains them, and the tables made of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, TypeVar

import pandas as pd

from aimc_robust.experiments.results.files import QUESTION
from aimc_robust.experiments.results.folder import Estimates, ResultsFolder
from aimc_robust.experiments.results.rows import EXPLANATIONS
from aimc_robust.experiments.results.summary import Key, summary_table
from aimc_robust.experiments.spec.evaluation import EvaluationSpec
from aimc_robust.io.toml import parse
from aimc_robust.statistics.paired_difference import difference_table
from aimc_robust.statistics.two_stage_sampling import DEFAULT_PILOT
from aimc_robust.targets.target import CrossbarTarget, DeployableTarget, DigitalTarget

Deployable = TypeVar("Deployable", bound=DeployableTarget)


class EvaluationResults(ResultsFolder[EvaluationSpec]):
    """Read and write the results folder of an evaluation, see `ResultsFolder`."""

    kind: ClassVar[str] = "evaluation"
    command: ClassVar[str] = "evaluate"

    @classmethod
    def parse_spec(cls, stored: dict[str, Any]) -> EvaluationSpec:
        """Validate a stored spec."""
        return parse(stored, EvaluationSpec, source=QUESTION)

    @property
    def pilot(self) -> int | None:
        """Number of pilot chips that decided the number of chips; None: it is fixed."""
        return None if self.spec.precision is None else DEFAULT_PILOT

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return the tables, see `ResultsFolder.write_tables`."""
        estimates = self.estimates()
        return {
            "evaluations": self.table(),
            "summary": summary_table(estimates, threshold=self.spec.threshold),
            "differences": paired_differences(self.spec, estimates),
            **{name: self.explanation(name) for name in EXPLANATIONS},
        }


def paired_differences(spec: EvaluationSpec, estimates: Estimates) -> pd.DataFrame:
    """Return paired differences, with p values corrected over the whole table (`statistics.paired_difference`).

    Pairs are: two models on each target; for each model two devices at the same time, and each later time of a device
    and its first.
    """
    pairs = [pair for pair in _pairs(spec) if pair[0] in estimates and pair[1] in estimates]
    return difference_table(estimates, pairs)


def _pairs(spec: EvaluationSpec) -> Iterator[tuple[Key, Key]]:
    labels, targets = spec.labels, spec.build_targets()
    for target in targets:
        yield from (((a, target.name), (b, target.name)) for a, b in itertools.combinations(labels, 2))
    devices = [target for target in targets if not isinstance(target, DigitalTarget)]
    for label in labels:
        for a, b in itertools.combinations(devices, 2):
            if a.time_s == b.time_s:
                yield (label, a.name), (label, b.name)
        for group in group_by_device(devices):
            yield from (((label, later.name), (label, group[0].name)) for later in group[1:])


def group_by_device(targets: Sequence[Deployable]) -> list[list[Deployable]]:
    """Group targets that differ by their time only, each group sorted by time."""
    groups: list[list[Deployable]] = []
    for target in sorted(targets, key=lambda t: t.time_s):
        same = [group for group in groups if _key_without_time(group[0]) == _key_without_time(target)]
        if same and not isinstance(target, DigitalTarget):
            same[0].append(target)
        else:
            groups.append([target])
    order = {target.name: i for i, target in enumerate(targets)}
    return sorted(groups, key=lambda group: order[group[0].name])


def _key_without_time(target: DeployableTarget) -> tuple[Any, ...]:
    return target.condition, target.deployment if isinstance(target, CrossbarTarget) else None
