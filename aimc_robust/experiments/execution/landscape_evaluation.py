"""Evaluate the loss around a trained model: a row per point of each landscape."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from aimc_robust.analysis.landscape import filter_directions
from aimc_robust.data.dataset import DataSet
from aimc_robust.evaluation.monte_carlo import evaluate_chips
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.filenames import LANDSCAPE
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.experiments.spec.landscape import LandscapeSpec
from aimc_robust.io.atomic import append_rows
from aimc_robust.training.epoch import EVALUATION_BATCH_SIZE


def evaluate_landscape(
    results: ComparisonResults,
    trial: Trial,
    model: nn.Module,
    data: DataSet,
    landscape: LandscapeSpec,
    points: Iterable[int],
) -> None:
    """Measure points of a landscape, and append a row as each is done.

    Args:
        results: The comparison; its chip seed draws the directions.
        trial: The trial.
        model: Its trained model.
        data: Its data set.
        landscape: The landscape.
        points: Numbers of the points.
    """
    device: torch.device = next(model.parameters()).device
    batches = data.batches(landscape.split, EVALUATION_BATCH_SIZE, device)
    directions = filter_directions(model, seed=results.spec.chip_seed)
    for point in points:
        for _, measured in evaluate_chips(model, batches, landscape.grid.step(directions, point), chips=[0]):
            row = {
                "landscape": landscape.name,
                "point": point,
                "accuracy": measured.accuracy,
                "loss": measured.loss if math.isfinite(measured.loss) else None,  # JSON has no NaN
                "n": measured.n,
            }
            append_rows(results.run_folder(trial) / LANDSCAPE, [row])
