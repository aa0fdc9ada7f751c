"""The rows of a results folder: of chips, of points of loss landscapes, and of what explains an evaluation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import pydantic

from aimc_robust.experiments.results.files import ANALYSIS, EVALUATIONS, LANDSCAPE, object_with
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.experiments.spec.landscape import LandscapeSpec
from aimc_robust.io.atomic import Row, damaged, read_rows
from aimc_robust.statistics.primary_metric import PrimaryMetric
from aimc_robust.targets.target import Target
from aimc_robust.tasks.measurement import Measurement
from aimc_robust.training.config import Precision

FORWARD_PRECISION = "forward_precision"


@cache
def row_type(metric: str, low: float = -math.inf, high: float = math.inf) -> Any:
    """Return the type of an evaluation row: of one chip; the metric is from `low` to `high`.

    Its columns, after which the further metrics follow:

    - model, train_seed: label of the method, or of the recipe, that the model was trained with; its training seed.
    - target, backend: name of the target; `digital`, `noise`, `native` or `crosssim`.
    - sigma: strength of Gaussian weight noise of scale filter_max; 0 for digital weights, else empty.
    - time_s: time since programming [s].
    - chip: number of the chip, from 0.
    - a column called by the task's primary metric, such as accuracy [percent].
    - loss: mean loss, in nats for a cross-entropy; empty where it overflowed or the task has none.
    - n: number of items that were scored: images, tokens, pixels.
    - forward_precision: `bf16-mixed`; rows of exact float32 have no such column.
    """

    def possible(value: float) -> float:
        if not (math.isfinite(value) and low - 1e-6 <= value <= high + 1e-6):  # as `Estimate` has it
            raise ValueError(f"expected a finite number from {low:g} to {high:g}, got {value:g}")
        return value

    condition = {"model": str, "train_seed": int, "target": str, "backend": str, "sigma": float | None}
    chip, value = Annotated[int, pydantic.Field(ge=0)], Annotated[float, pydantic.AfterValidator(possible)]
    items = Annotated[int, pydantic.Field(ge=1)]
    return object_with(**condition, time_s=float, chip=chip, **{metric: value}, loss=float | None, n=items)


def columns(metric: str) -> list[str]:
    """Return the columns of every evaluation row, in order."""
    return list(row_type(metric).__annotations__)


def read_evaluations(run_folder: Path, trial: Trial, metric: PrimaryMetric) -> list[Row]:
    """Return the evaluation rows of a trial, see `require_one_run`; none if there is no file of them."""
    path = run_folder / EVALUATIONS
    return require_one_run(path, read_rows(path, row_type(metric.name, *metric.bounds)), trial)


def require_one_run(path: Path, rows: Sequence[Row], trial: Trial) -> list[Row]:
    """Return the evaluation rows of a trial, read from `path`, each chip of a target once.

    A chip can be stored twice, if a cluster node that was considered dead continued; both rows are equal.

    Raises:
        ResultsError: if a row is of another model, or two rows of a chip differ.
    """
    unique: dict[tuple[str, int], Row] = {}
    for number, row in enumerate(rows, start=1):
        if row["model"] != trial.model or row["train_seed"] != trial.train_seed:
            raise damaged(path, f"row {number}: it is of {Trial(row['model'], row['train_seed'])}, not of {trial}")
        first = unique.setdefault((row["target"], row["chip"]), row)
        if first is not row and first != row:
            raise damaged(path, f"row {number}: an earlier row of {row['target']}, chip {row['chip']} has other values")
    return list(unique.values())


@cache
def point_type(metric: str) -> Any:
    """Return the type of a row of one point of a landscape; without values where the model diverges."""
    return object_with(landscape=str, point=int, **{metric: float | None}, loss=float | None, n=int)


_SETTINGS: Any = object_with(split=str, images=int | None, sigma=float, rho=float, m=int, steps=int, probes=int)
ANALYSIS_ROW = object_with(
    settings=_SETTINGS,
    model_digest=str,
    loss=float | None,
    average_sharpness=float | None,
    ascent_sharpness=float | None,
    parameters=int,
    eigenvalues=list[float],
    errors=list[float],
    lowest=float,
    trace=float,
    nodes=list[list[float]],
    weights=list[list[float]],
)
"""A row of `analyze`: its settings, a hash of the weights, and what it found, see `analysis.hessian_spectrum`."""

_MODEL = {"model": str, "train_seed": int, "target": str}
EXPLANATIONS: dict[str, Any] = {
    "attribution": object_with(**_MODEL, kind=str, name=str),
    "prediction": object_with(**_MODEL),
    "prediction_layers": object_with(**_MODEL, layer=str),
    "validity": object_with(**_MODEL, scale=float),
    "state_counts": object_with(**_MODEL, bin=int),
    "signals": object_with(**_MODEL, layer=str, quantity=str, bank=int),
}
"""The columns that identify a row of each explanation; of several rows, say with more chips, the last one counts."""


def evaluation_row(
    trial: Trial, target: Target, chip: int, measured: Measurement, precision: Precision = "32-true"
) -> Row:
    """Return the row of one chip, ready for JSON: a value that is not finite is None."""
    row: Row = {
        "model": trial.model,
        "train_seed": trial.train_seed,
        "target": target.name,
        "backend": target.backend,
        "sigma": target.sigma,
        "time_s": target.time_s,
        "chip": chip,
        **measured.row(),
    }
    if precision != "32-true":
        row[FORWARD_PRECISION] = precision
    return finite(row)


def finite(row: Row) -> Row:
    """Return a row with None for each number that is not finite, as JSON has neither NaN nor infinity."""
    return {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in row.items()}


def read_points(run_folder: Path, metric: str) -> list[Row]:
    """Return the points of all landscapes of a trial, each once."""
    rows = read_rows(run_folder / LANDSCAPE, point_type(metric))
    return list({(row["landscape"], row["point"]): row for row in rows}.values())


def missing_points(rows: list[Row], landscape: LandscapeSpec) -> list[int]:
    """Return the points of a landscape that `rows`, the result of `read_points`, lack."""
    done = {row["point"] for row in rows if row["landscape"] == landscape.name}
    return [point for point in range(landscape.grid.num_points) if point not in done]


def read_analyses(run_folder: Path) -> list[Row]:
    """Return the rows of `analyze` of a trial, in the order in which they were made."""
    return read_rows(run_folder / ANALYSIS, ANALYSIS_ROW)
