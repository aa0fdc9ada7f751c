"""Generators of timed work: each does one unit of work every time it is advanced."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import nn

from aimc_robust.analysis.landscape import filter_directions
from aimc_robust.data.batches import split_batches
from aimc_robust.evaluation.monte_carlo import evaluate_chips
from aimc_robust.experiments.planning.timer import MAX_REPETITIONS
from aimc_robust.experiments.spec.landscape import LandscapeSpec
from aimc_robust.hardware.calibration.converter_ranges import calibrate_deployment
from aimc_robust.metrics import Batch
from aimc_robust.targets.target import AscentTarget, CrossbarTarget, DigitalTarget, Target
from aimc_robust.training.epoch import EVALUATION_BATCH_SIZE


def repeat(work: Callable[[], object]) -> Iterator[None]:
    """Call `work` at every step, without end."""
    while True:
        work()
        yield


def chip_steps(model: nn.Module, target: Target | LandscapeSpec, batch: Batch, example: Batch) -> Iterator[None]:
    """Evaluate one chip of a target, or one point of a landscape, on `batch` per step.

    Args:
        model: The network, in evaluation mode.
        target: The target or landscape.
        batch: (inputs, labels) of the evaluation.
        example: A few images for calibration, compensation and ascent directions.
    """
    batches = split_batches(batch, EVALUATION_BATCH_SIZE)
    if isinstance(target, LandscapeSpec):
        directions = filter_directions(model, seed=0)
        yield from repeat(lambda: list(evaluate_chips(model, batches, target.grid.step(directions, 0), chips=[0])))
    elif isinstance(target, DigitalTarget | AscentTarget):  # one chip only, or another step for each
        yield from repeat(
            lambda: list(evaluate_chips(model, batches, target.condition_for(model, [example]), chips=[0]))
        )
    else:  # many chips share the preparation of the model
        deployment = None
        if isinstance(target, CrossbarTarget):
            deployment = calibrate_deployment(model, target.crossbar, target.deployment, [example[0]])
        condition, chips = target.condition_for(model, [example]), range(1 + MAX_REPETITIONS)
        for _ in evaluate_chips(model, batches, condition, chips=chips, time_s=target.time_s, deployment=deployment):
            yield
