"""The row of one evaluation: one trained model under one target on one chip."""

from __future__ import annotations

import math

from aimc_robust.experiments.results.trial import Trial
from aimc_robust.io.atomic import Row
from aimc_robust.metrics import Measurement
from aimc_robust.targets.target import Target

COLUMNS = ("model", "train_seed", "target", "backend", "sigma", "time_s", "chip", "accuracy", "loss", "n")
"""Columns of every row, on disk and in evaluations.csv, in this order. After them the spec's metrics.

- model: Label of the method, or of the recipe, that the model was trained with.
- train_seed: Training seed.
- target: Name of the target.
- backend: `digital`, `noise`, `native` or `crosssim`.
- sigma: Strength of Gaussian weight noise of scale filter_max; 0 for digital weights, else empty.
- time_s: Time since programming [s].
- chip: Number of the chip, from 0.
- accuracy: Top-1 accuracy [percent].
- loss: Mean cross-entropy [nats]; empty where it overflowed.
- n: Number of images.
"""


def evaluation_row(trial: Trial, target: Target, chip: int, measured: Measurement) -> Row:
    """Return the row of one chip.

    Args:
        trial: The trained model.
        target: What it was evaluated under.
        chip: Number of the chip.
        measured: What was measured.

    Returns:
        The row, ready for JSON: a value that is not finite is None.
    """
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
    """Return a row with None for each number that is not finite, as JSON has neither NaN nor infinity.

    Args:
        row: A row.
    """
    return {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in row.items()}
