"""Content of an evaluation's report as plain values, gathered from the rows; HTML and Markdown lay it out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aimc_robust.experiments.results.evaluation import EvaluationResults, group_by_device
from aimc_robust.experiments.results.folder import Estimates
from aimc_robust.experiments.results.summary import extra_metrics, summary_table
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.statistics.paired_difference import DIGITAL, difference_table
from aimc_robust.statistics.primary_metric import PrimaryMetric, metric_of
from aimc_robust.targets.target import CrossbarTarget, DeployableTarget

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class EvaluationContent:
    """Everything that an evaluation's report states. Rows are dicts of plain values.

    Attributes:
        results: The results folder.
        estimates: (label, target) -> estimate of the primary metric.
        targets: All targets.
        families: Targets grouped by device: those of a group differ only in time.
        rows: A row per label and target, as in summary.csv.
        others: Further metrics.
        losses: (label, target) -> paired difference between digital weights and the target.
        missing: Number of (label, target) pairs without rows.
    """

    results: EvaluationResults
    estimates: Estimates
    targets: list[DeployableTarget]
    families: list[list[DeployableTarget]]
    rows: Rows
    others: list[PrimaryMetric]
    losses: dict[tuple[str, str], dict[str, Any]]
    missing: int

    @property
    def metric(self) -> PrimaryMetric:
        """The primary metric."""
        return self.results.metric

    @property
    def tested(self) -> str:
        """What the models are tested on, such as `180 images`; without a number as long as there are no rows."""
        items = self.results.task.items
        return f"{self.rows[0]['n']} {items}" if self.rows else items

    @property
    def devices(self) -> list[list[CrossbarTarget]]:
        """The crossbar targets of each device, by time."""
        groups = [[target for target in family if isinstance(target, CrossbarTarget)] for family in self.families]
        return [group for group in groups if group]

    @property
    def replicated(self) -> bool:
        """Whether a label has several trained models."""
        return len(self.results.spec.models) > len(self.results.spec.labels)

    def model_name(self, label: str, seed: int) -> str:
        """Return the label of a trained model, with its seed if the label has several models."""
        several = sum(model.label == label for model in self.results.spec.models) > 1
        return str(Trial(label, seed)) if several else label

    def row(self, label: str, target: str) -> dict[str, Any] | None:
        """Return the summary row of a label on a target; None without rows."""
        return next((r for r in self.rows if (r["model"], r["target"]) == (label, target)), None)


def gather(results: EvaluationResults) -> EvaluationContent:
    """Gather the content of a report from an evaluation's folder, finished or not."""
    spec = results.spec
    targets = spec.build_targets()
    estimates = results.estimates()
    table = results.table()
    return EvaluationContent(
        results=results,
        estimates=estimates,
        targets=targets,
        families=group_by_device(targets),
        rows=summary_table(estimates, threshold=spec.threshold).to_dict("records"),
        others=[metric_of(name, results.others) for name in extra_metrics(table, results.metric.name)],
        losses=_losses(estimates),
        missing=len(spec.labels) * len(targets) - len(estimates),
    )


def _losses(estimates: Estimates) -> dict[tuple[str, str], dict[str, Any]]:
    keys = [key for key in estimates if key[1] != DIGITAL and (key[0], DIGITAL) in estimates]
    differences = difference_table(estimates, [((key[0], DIGITAL), key) for key in keys])
    return dict(zip(keys, differences.to_dict("records"), strict=True))
