"""Check a submission: its fixed part, its rows, and that its weights give these rows.

The last check evaluates a random sample of rows again: of each method ROWS_PER_METHOD of (model, device, chip). Where a
share s of a method's rows is wrong, all of its sample is right with probability (1 - s)**ROWS_PER_METHOD: 10 % for a
quarter of the rows and 8 rows.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from aimc_robust.data.dataset import DataSet
from aimc_robust.data.loading import load_data
from aimc_robust.errors import InputError
from aimc_robust.evaluation.monte_carlo import evaluate_chips
from aimc_robust.experiments.execution.target_runner import TargetRunner
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.io.atomic import Row
from aimc_robust.models.checkpoint import check_fits
from aimc_robust.models.registry import build_model

from .benchmark import check_fixed_part
from .submission import Submission

ROWS_PER_METHOD = 8
MAX_IMAGES = 2  # that rounding on another machine may move over a decision boundary
MAX_LOSS = 0.01  # relative difference of the loss that rounding may make


@dataclass(frozen=True)
class Verification:
    """What was checked: number of rows that were evaluated again, the seed of their choice, largest differences."""

    rows: int
    sample_seed: int
    accuracy: float  # points
    loss: float  # relative


def check(
    submission: Submission, fixed: dict[str, Any], *, sample_seed: int, rows_per_method: int = ROWS_PER_METHOD
) -> Verification:
    """Check a submission.

    Args:
        submission: The submission.
        fixed: See `benchmark.fixed_part`.
        sample_seed: Chooses the rows that are evaluated again.
        rows_per_method: Their number for each method.

    Raises:
        InputError: if it is refused, with the reason.
    """
    check_fixed_part(submission.results.spec, fixed)
    check_complete(submission)
    return check_reproduction(submission, sample_seed, rows_per_method)


def check_complete(submission: Submission) -> None:
    """Raise InputError unless all models have all their rows and weights."""
    results = submission.results
    for trial in results.trials:
        reason = results.failure(trial)
        if reason is not None:
            raise InputError(f"{trial} failed ({reason}); leave its method out, or change it and run it again.")
        for target, chips in results.missing(trial).items():
            raise InputError(f"{trial} has no row of {target} on chip {chips[0]}; run `aimc-robust compare` again.")
        if not submission.weights_of(trial):
            raise InputError(f"there are no weights of {trial}; write the submission again with `submit`.")


def check_reproduction(submission: Submission, sample_seed: int, rows_per_method: int) -> Verification:
    """Raise InputError unless a sample of rows, evaluated again from the weights, agrees within rounding."""
    spec = submission.results.spec
    data = load_data(spec.data, data_seed=spec.data_seed, folder=Path(), task=submission.results.task)
    checked, accuracy, loss = 0, 0.0, 0.0
    for trial, row in sample(submission, sample_seed, rows_per_method):
        again = _evaluate_again(submission, trial, row, data)
        points, relative = abs(again["accuracy"] - row["accuracy"]), abs(again["loss"] / row["loss"] - 1.0)
        allowed = 100.0 * MAX_IMAGES / again["n"] + 1e-6
        if row["n"] != again["n"] or points > allowed or relative > MAX_LOSS:
            raise InputError(
                f"{trial} on {row['target']}, chip {row['chip']}: the row says accuracy {row['accuracy']:.2f} % and "
                f"loss {row['loss']:.4g} of {row['n']} images, the weights give {again['accuracy']:.2f} % and "
                f"{again['loss']:.4g} of {again['n']}; submit rows and weights of the same run."
            )
        checked, accuracy, loss = checked + 1, max(accuracy, points), max(loss, relative)
    return Verification(checked, sample_seed, accuracy, loss)


def sample(submission: Submission, sample_seed: int, rows_per_method: int) -> Iterator[tuple[Trial, Row]]:
    """Yield rows of each method that are drawn without replacement."""
    results = submission.results
    for label in results.spec.labels:
        rows = [(trial, row) for trial in results.trials if trial.model == label for row in results.evaluations(trial)]
        yield from random.Random(f"{sample_seed} {label}").sample(rows, min(rows_per_method, len(rows)))


def _evaluate_again(submission: Submission, trial: Trial, row: Row, data: DataSet) -> Row:
    spec, model = submission.results.spec, _model(submission, trial, data)
    target = next(target for target in submission.results.targets if target.name == row["target"])
    with tempfile.TemporaryDirectory() as folder:  # a folder without rows: nothing is taken from the submission
        runner = TargetRunner(results=ComparisonResults(Path(folder), spec), trial=trial, model=model, data=data)
        ((_, measured),) = evaluate_chips(
            model,
            runner.batches(target),
            target.condition_for(model, (), submission.results.task),
            chips=[row["chip"]],
            chip_seed=spec.chip_seed,
            time_s=target.time_s,
            deployment=runner.deployment(target),
            metrics=spec.metrics,
            task=submission.results.task,
        )
    return measured.row()


def _model(submission: Submission, trial: Trial, data: DataSet) -> nn.Module:
    """Return a trained model of the submission."""
    spec, weights = submission.results.spec, submission.weights_of(trial)
    model = build_model(spec.model, data, seed=trial.train_seed, task=submission.results.task)
    check_fits(model, weights, source=f"weights of {trial}", remedy="Write the submission again with `submit`.")
    model.load_state_dict(weights)
    return model.eval()
