"""The rows of a results folder: of chips, of points of loss landscapes, and of what explains an evaluation."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict

from aimc_robust.experiments.results.files import LANDSCAPE, STRICT, object_with
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.experiments.spec.landscape import LandscapeSpec
from aimc_robust.io.atomic import Row, read_rows
from aimc_robust.targets.target import Target
from aimc_robust.tasks.measurement import Measurement


@STRICT
class EvaluationRow(TypedDict):
    """The columns of every row, on disk and in evaluations.csv. After them the spec's metrics.

    Attributes:
        model: Label of the method, or of the recipe, that the model was trained with.
        train_seed: Training seed.
        target: Name of the target.
        backend: `digital`, `noise`, `native` or `crosssim`.
        sigma: Strength of Gaussian weight noise of scale filter_max; 0 for digital weights, else empty.
        time_s: Time since programming [s].
        chip: Number of the chip, from 0.
        accuracy: Top-1 accuracy [percent].
        loss: Mean cross-entropy [nats]; empty where it overflowed.
        n: Number of images.
    """

    model: str
    train_seed: int
    target: str
    backend: str
    sigma: float | None
    time_s: float
    chip: int
    accuracy: float
    loss: float | None
    n: int


COLUMNS = tuple(EvaluationRow.__annotations__)


LANDSCAPE_ROW = object_with(landscape=str, point=int, accuracy=float, loss=float | None, n=int)

_MODEL = {"model": str, "train_seed": int, "target": str}
EXPLANATIONS: dict[str, Any] = {
    "attribution": object_with(**_MODEL, kind=str, name=str),
    "prediction": object_with(**_MODEL),
    "prediction_layers": object_with(**_MODEL, layer=str),
    "validity": object_with(**_MODEL, scale=float),
}
"""The columns that identify a row of each explanation; of several rows, say with more chips, the last one counts."""


def evaluation_row(trial: Trial, target: Target, chip: int, measured: Measurement) -> Row:
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
    return finite(row)


def finite(row: Row) -> Row:
    """Return a row with None for each number that is not finite, as JSON has neither NaN nor infinity."""
    return {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in row.items()}


def read_points(run_folder: Path) -> list[Row]:
    """Return the points of all landscapes of a trial, each once."""
    rows = read_rows(run_folder / LANDSCAPE, LANDSCAPE_ROW)
    return list({(row["landscape"], row["point"]): row for row in rows}.values())


def missing_points(rows: list[Row], landscape: LandscapeSpec) -> list[int]:
    """Return the points of a landscape that `rows`, the result of `read_points`, lack."""
    done = {row["point"] for row in rows if row["landscape"] == landscape.name}
    return [point for point in range(landscape.grid.num_points) if point not in done]
