"""Content of an evaluation's report as plain values, gathered from the rows; HTML and Markdown lay it out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from aimc_robust.evaluation.error_sources import SOURCES
from aimc_robust.experiments.results.evaluation import EvaluationResults, group_by_device, paired_differences
from aimc_robust.experiments.results.files import NOTES
from aimc_robust.experiments.results.folder import Estimates
from aimc_robust.experiments.results.summary import extra_metrics, summary_table
from aimc_robust.statistics.difference_table import DIGITAL, difference_table
from aimc_robust.targets.target import CrossbarTarget, DeployableTarget

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class AttributionResult:
    """Error attribution of one model on one target.

    Attributes:
        model: The trained model.
        target: Name of the target.
        exact: Accuracy without errors [percent].
        whole: Accuracy with all errors [percent].
        chips: Number of chips.
        sources: A row per error source, the largest cost first.
        layers: A row per layer, the largest cost first.
    """

    model: str
    target: str
    exact: float
    whole: float
    chips: int
    sources: Rows
    layers: Rows


@dataclass(frozen=True)
class LossPrediction:
    """Predicted and simulated loss of one model on one target at several error scales.

    Attributes:
        model: The trained model.
        target: Name of the target.
        left_out: Effects that the prediction does not include.
        rows: A row per error scale.
    """

    model: str
    target: str
    left_out: str
    rows: Rows


@dataclass(frozen=True)
class EvaluationContent:
    """Everything that an evaluation's report states. Rows are dicts of plain values; accuracies in percent.

    Attributes:
        results: The results folder.
        estimates: (label, target) -> accuracy.
        targets: All targets.
        families: Targets grouped by device: those of a group differ only in time.
        rows: A row per label and target, as in summary.csv.
        metrics: Names of further columns: top5 and user metrics.
        losses: (label, target) -> paired difference between digital weights and the target.
        differences: A row per pair of conditions.
        attributions: Error attributions.
        predictions: A row per predicted loss.
        loss_predictions: Predictions at several error scales.
        notes: Remarks for the reader.
        missing: Number of (label, target) pairs without rows.
    """

    results: EvaluationResults
    estimates: Estimates
    targets: list[DeployableTarget]
    families: list[list[DeployableTarget]]
    rows: Rows
    metrics: list[str]
    losses: dict[tuple[str, str], dict[str, Any]]
    differences: Rows
    attributions: list[AttributionResult]
    predictions: Rows
    loss_predictions: list[LossPrediction]
    notes: list[str]
    missing: int

    @property
    def devices(self) -> list[CrossbarTarget]:
        """One crossbar target per device."""
        return [first for first, *_ in self.families if isinstance(first, CrossbarTarget)]

    @property
    def replicated(self) -> bool:
        """Whether a label has several trained models."""
        return len(self.results.spec.models) > len(self.results.spec.labels)

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
        rows=[row | _seed_text(estimates, row) for row in _rows(summary_table(estimates, threshold=spec.threshold))],
        metrics=extra_metrics(table) if len(table) else [],
        losses=_losses(estimates),
        differences=_rows(paired_differences(spec, estimates)),
        attributions=_attributions(results.explanation("attribution")),
        predictions=_predictions(results.explanation("prediction"), estimates),
        loss_predictions=_loss_predictions(results.explanation("validity"), results.explanation("prediction")),
        notes=results.read_json_file(NOTES) or [],
        missing=len(spec.labels) * len(targets) - len(estimates),
    )


def _seed_text(estimates: Estimates, row: Mapping[str, Any]) -> dict[str, str]:
    return {"seed_text": estimates[row["model"], row["target"]].components.seed_text}


def _rows(frame: pd.DataFrame) -> Rows:
    return frame.to_dict("records")


def _losses(estimates: Estimates) -> dict[tuple[str, str], dict[str, Any]]:
    keys = [key for key in estimates if key[1] != DIGITAL and (key[0], DIGITAL) in estimates]
    differences = difference_table(estimates, [((key[0], DIGITAL), key) for key in keys])
    return dict(zip(keys, _rows(differences), strict=True))


def _attributions(frame: pd.DataFrame) -> list[AttributionResult]:
    if frame.empty:
        return []
    attributions = []
    for (model, target), rows in frame.groupby(["model", "target"], sort=False):
        first = rows.iloc[0]
        sources, layers = (_rows(rows[rows["kind"] == kind]) for kind in ("source", "layer"))
        for row in sources:
            row["description"] = SOURCES[row["name"]]
        exact, whole, chips = float(first["exact"]), float(first["whole"]), int(first["chips"])
        attributions.append(AttributionResult(model, target, exact, whole, chips, sources, layers))
    return attributions


def _predictions(frame: pd.DataFrame, estimates: Estimates) -> Rows:
    """Each prediction with the mean loss over the chips of the same model."""
    rows = []
    for row in _rows(frame):
        chips, simulated = 0, None
        estimate = estimates.get((row["model"], row["target"]))
        if estimate is not None:
            losses = estimate.table.loc[estimate.table["train_seed"] == row["train_seed"], "loss"]
            if len(losses) > 0 and losses.notna().all():
                chips, simulated = len(losses), float(losses.mean())
        rows.append(row | {"chips": chips, "simulated": simulated})
    return rows


def _loss_predictions(frame: pd.DataFrame, predictions: pd.DataFrame) -> list[LossPrediction]:
    if frame.empty:
        return []
    left_out = {(row["model"], row["target"]): row["left_out"] for row in _rows(predictions)}
    groups = frame.groupby(["model", "target"], sort=False)
    return [
        LossPrediction(model, target, left_out.get((model, target), ""), _rows(rows))
        for (model, target), rows in groups
    ]
