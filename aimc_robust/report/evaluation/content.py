"""What the report of an evaluation says, gathered from its rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from aimc_robust.evaluation.error_sources import SOURCES
from aimc_robust.experiments.results.evaluation import NOTES, Estimates, EvaluationResults
from aimc_robust.experiments.results.evaluation_tables import paired_differences, group_by_device, extra_metrics, summary_table
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.statistics.difference_table import DIGITAL, difference_table
from aimc_robust.targets.target import Target

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class AttributionResult:
    """An attribution of one model on one target: facts of the whole, a row per source and per layer."""

    model: str
    target: str
    exact: float
    whole: float
    chips: int
    sources: Rows
    layers: Rows


@dataclass(frozen=True)
class LossPrediction:
    """Prediction and Monte Carlo at several strengths of the error, of one model on one target."""

    model: str
    target: str
    left_out: str
    rows: Rows


@dataclass(frozen=True)
class EvaluationContent:
    """All that the report says. Rows are dicts of plain numbers; accuracies in percent."""

    results: EvaluationResults
    estimates: Estimates
    targets: list[Target]
    families: list[list[Target]]  # targets that differ by time alone
    rows: Rows  # of the summary
    columns: list[str]  # top5 and a user's metrics
    losses: dict[tuple[str, str], dict[str, Any]]  # (label, target) -> difference to digital weights, paired
    differences: Rows
    attributions: list[AttributionResult]
    predictions: Rows
    loss_predictions: list[LossPrediction]
    notes: list[str]
    missing: int  # models and targets without rows

    @property
    def devices(self) -> list[Target]:
        """Crossbars, once for each family."""
        return [family[0] for family in self.families if isinstance(family[0].condition, Crossbar)]

    def row(self, label: str, target: str) -> dict[str, Any] | None:
        """The summary's row of a model on a target."""
        return next((r for r in self.rows if (r["model"], r["target"]) == (label, target)), None)


def gather(results: EvaluationResults) -> EvaluationContent:
    """Read an evaluation's folder, finished or not."""
    question = results.spec
    targets = question.build_targets()
    estimates = results.estimates()
    table = results.table()
    return EvaluationContent(
        results=results,
        estimates=estimates,
        targets=targets,
        families=group_by_device(targets),
        rows=[row | _seed_text(estimates, row) for row in _rows(summary_table(estimates, question.threshold))],
        columns=extra_metrics(table) if len(table) else [],
        losses=_losses(estimates),
        differences=_rows(paired_differences(question, estimates)),
        attributions=_attributions(results.explanation("attribution")),
        predictions=_predictions(results.explanation("prediction"), estimates),
        loss_predictions=_loss_predictions(results.explanation("validity"), results.explanation("prediction")),
        notes=results.read_json_file(NOTES) or [],
        missing=len(question.labels) * len(targets) - len(estimates),
    )


def _seed_text(estimates: Estimates, row: dict[str, Any]) -> dict[str, str]:
    return {"seed_text": estimates[row["model"], row["target"]].components.seed_text}


def _rows(frame: pd.DataFrame) -> Rows:
    return frame.to_dict("records")


def _losses(estimates: Estimates) -> dict[tuple[str, str], dict[str, Any]]:
    keys = [key for key in estimates if key[1] != DIGITAL and (key[0], DIGITAL) in estimates]
    found = difference_table(estimates, [((key[0], DIGITAL), key) for key in keys])
    return dict(zip(keys, _rows(found), strict=True))


def _attributions(frame: pd.DataFrame) -> list[AttributionResult]:
    if frame.empty:
        return []
    found = []
    for (model, target), rows in frame.groupby(["model", "target"], sort=False):
        first = rows.iloc[0]
        sources, layers = (_rows(rows[rows["kind"] == kind]) for kind in ("source", "layer"))
        for row in sources:
            row["what"] = SOURCES[row["name"]]
        facts = float(first["exact"]), float(first["whole"]), int(first["chips"])
        found.append(AttributionResult(model, target, *facts, sources, layers))
    return found


def _predictions(frame: pd.DataFrame, estimates: Estimates) -> Rows:
    """Each prediction beside the mean loss that the chips of the same model had."""
    rows = []
    for row in _rows(frame):
        label, _, seed = row["model"].rpartition("-")
        estimate = estimates.get((label, row["target"]))
        losses = (
            None if estimate is None else estimate.table.query("seed == @seed", local_dict={"seed": int(seed)})["loss"]
        )
        finite = losses is not None and len(losses) > 0 and losses.notna().all()
        rows.append(
            row | {"chips": len(losses) if finite else 0, "simulated": float(losses.mean()) if finite else None}
        )
    return rows


def _loss_predictions(frame: pd.DataFrame, predictions: pd.DataFrame) -> list[LossPrediction]:
    if frame.empty:
        return []
    left_out = {(row["model"], row["target"]): row["left_out"] for row in _rows(predictions)}
    groups = frame.groupby(["model", "target"], sort=False)
    return [LossPrediction(*key, left_out.get(key, ""), _rows(rows)) for key, rows in groups]
