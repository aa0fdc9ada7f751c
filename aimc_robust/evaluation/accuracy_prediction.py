"""The expected accuracy on a device at a time, from the mean and variance over chips of each weight.

The weights are Gaussian with the mean and variance that the device gives each of them, which are closed forms, and
every block of images meets another draw. A pass over the images therefore averages over as many draws as there are
blocks, and gives the expectation over chips more precisely than a pass with one chip. It says nothing about the spread
between chips. Read noise and converters are those of the arrays of one chip per pass, with the drawn weights in place
of its own.
"""

import copy
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import NoneType

import numpy as np
import pandas as pd
from torch import nn

from aimc_robust.data.batches import Batches, as_reiterable
from aimc_robust.devices.moments import Moments
from aimc_robust.errors import DivergenceError, InputError, require_type, require_whole, unknown_name
from aimc_robust.evaluation.gaussian_weights import GaussianWeights
from aimc_robust.evaluation.loss_prediction import condition_times
from aimc_robust.evaluation.monte_carlo import Condition
from aimc_robust.float32_convolutions import float32_convolutions
from aimc_robust.hardware.config.deployment import Deployment
from aimc_robust.hardware.config.placement import Hardware
from aimc_robust.hardware.conversion.prepare import plain_copy, prepare
from aimc_robust.hardware.program import check_program, chip_axes, program_prepared
from aimc_robust.hardware.programming.compensated_moments import compensated_moments
from aimc_robust.hardware.programming.moments import model_moments
from aimc_robust.noise.weight_shift import derived_weights
from aimc_robust.seeding import Axes
from aimc_robust.statistics.primary_metric import PrimaryMetric
from aimc_robust.statistics.t_interval import t_interval
from aimc_robust.tasks.batches import Batch, examples_in, select
from aimc_robust.tasks.registry import TaskLike, as_task
from aimc_robust.tasks.task import Task

BLOCK = 50  # examples that meet one draw of the weights, which then costs little beside them
MOST_BLOCKS = 50  # of a pass; more would hardly average better, and cost draws of all weights


@dataclass(frozen=True)
class AccuracyPrediction:
    """The expected primary metric of a task under each condition: for classification the accuracy [%].

    Attributes:
        table: One row per condition: `condition`, `time_s`, `digital` (the trained weights), `mean_weights` (each
            weight at its mean over chips, without noise and converters: what all chips have in common), and
            `predicted`, the expectation over chips, with the 95 % interval `low` to `high` of its sampling error.
        metric: The metric, with its unit.
        left_out: Condition -> what the prediction does not contain: `IR drop`.
        seconds: Wall time [s].
    """

    table: pd.DataFrame
    metric: PrimaryMetric
    left_out: dict[str, tuple[str, ...]]
    seconds: float


@float32_convolutions()
def predict_accuracy(
    model: nn.Module,
    batches: Batches,
    conditions: Mapping[str, Condition],
    *,
    time_s: float | Mapping[str, float] = 0.0,
    deployment: Deployment | Mapping[str, Deployment] | None = None,
    chip_seed: int = 0,
    passes: int = 8,
    task: TaskLike = None,
) -> AccuracyPrediction:
    """Predict the expected accuracy of a model under each condition from the moments of its weights.

    The model is evaluated as in `evaluate`: with BatchNorm folded for crossbars, unchanged for other noises. All
    conditions share their random numbers, so that differences between devices and times are more precise than each
    prediction. The prediction errs where the sum of a layer's weight errors is not nearly Gaussian, as in layers with
    few inputs on devices with stuck cells.

    Args:
        model: The trained model; not modified.
        batches: Labelled data: (inputs, labels) batches such as a list or a DataLoader, one such pair, or `Images`.
        conditions: Name -> a Crossbar, a `Placement`, a weight noise, or None for digital weights.
        time_s: Seconds since programming: one time for all crossbars, or name -> time (names that are missing: 0).
        deployment: Converter ranges, drift compensation and BatchNorm folding: one for all crossbars, or name ->
            deployment. The backend must be `native`; recalibrated BatchNorms are not predicted.
        chip_seed: Root seed of all draws.
        passes: Inferences with drawn weights per condition, at least 2. Each has draws of its own; their spread gives
            the interval.
        task: What is predicted, as for `evaluate`.

    Raises:
        InputError: if an argument is invalid.
        UnknownNameError: if `time_s` or `deployment` names a condition that does not exist.
        DataError: if there are no images, or labels do not match the outputs.
        DivergenceError: if outputs are NaN or +infinity; it names the condition.
    """
    began = time.perf_counter()
    require_whole("passes", passes, low=2)
    require_whole("chip_seed", chip_seed, low=0)
    require_type("model", model, nn.Module, example="a torch.nn.Module")
    task = as_task(task)
    if task.takes_any_batches:
        raise InputError(f"{type(task).__name__} takes batches of any kind, which cannot be divided; use ar.evaluate.")
    batches = as_reiterable(batches, task)
    times_s = condition_times(conditions, time_s)
    deployments = _deployments(conditions, deployment)
    examples = sum(examples_in(task.unpack(batch)[1]) for batch in batches)
    rows = []
    trained: dict[tuple[bool, bool], tuple[nn.Module, float]] = {}
    for name, condition in conditions.items():
        deployed = deployments[name]
        kind = isinstance(condition, Hardware), deployed.fold
        if kind not in trained:
            base = prepare(model, partial(task.example, batches), fold=kind[1])[0] if kind[0] else plain_copy(model)
            trained[kind] = base, _digital(base, batches, task)
        base, digital = trained[kind]
        try:
            moments = _moments(base, condition, times_s[name], deployed, chip_seed)
            drawn = GaussianWeights(base, moments, copy.deepcopy(base))
            drawn.write_mean()
            row = {"digital": digital, "mean_weights": task.measure(drawn.model, batches).value}
            values = []
            for number in range(passes if moments else 0):
                if isinstance(condition, Hardware) and condition.computes_in_arrays:
                    on_arrays = _on_arrays(base, condition, chip_axes(chip_seed, number), times_s[name], deployed)
                    drawn = GaussianWeights(base, moments, on_arrays)
                axes = Axes(chip_seed).at(use="accuracy prediction", number=number)
                values.append(task.measure(drawn.model, _redrawn(drawn, batches, examples, axes, task)).value)
        except DivergenceError as error:
            raise DivergenceError(f"{name}: {error}") from None
        rows.append({"condition": name, "time_s": times_s[name], **row, **_estimate(values or [digital] * 2, task)})
    left_out = {name: _left_out(condition) for name, condition in conditions.items()}
    return AccuracyPrediction(pd.DataFrame(rows), task.primary, left_out, time.perf_counter() - began)


def _deployments(
    conditions: Mapping[str, Condition], deployment: Deployment | Mapping[str, Deployment] | None
) -> dict[str, Deployment]:
    """Return the deployment of each condition; raise InputError for one that the prediction does not cover."""
    if isinstance(deployment, Mapping):
        for name in deployment:
            if name not in conditions:
                raise unknown_name("condition of a deployment", name, conditions)
    given = deployment if isinstance(deployment, Mapping) else dict.fromkeys(conditions, deployment)
    for name, value in given.items():
        require_type("deployment", value, (Deployment, NoneType), example="a Deployment or None")
        if value is not None and (value.backend != "native" or "batchnorm" in value.compensation):
            raise InputError(
                f"the accuracy of {name!r} can be predicted on the native backend, without recalibrated BatchNorms; "
                "change the deployment, or use ar.evaluate."
            )
    return {name: given.get(name) or Deployment() for name in conditions}


def _digital(base: nn.Module, batches: Iterable[Batch], task: Task) -> float:
    try:
        return task.measure(base, batches).value
    except DivergenceError as error:
        raise DivergenceError(f"the trained weights: {error}") from None


def _moments(
    base: nn.Module, condition: Condition, time_s: float, deployment: Deployment, chip_seed: int
) -> dict[str, Moments]:
    """Return mean and variance over chips of each weight, after the drift compensation of the deployment."""
    if not isinstance(condition, Hardware):
        if condition is not None and (derived := derived_weights(base)):
            raise InputError(
                f"the layer {derived[0].layer!r} shares its weight with a digital module, such as an embedding; the "
                "accuracy under a noise on it is not predicted. Use ar.evaluate, or give the layer its own copy."
            )
        return model_moments(base, condition, time_s=time_s, chip_seed=chip_seed)
    check_program(base, condition, time_s, deployment=deployment)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of limits; `check_program` has warned of them
        moments = model_moments(base, condition, time_s=time_s, chip_seed=chip_seed)
        if "drift" in deployment.compensation and time_s > 0:
            return compensated_moments(base, condition, moments, chip_seed=chip_seed)
    return moments


def _on_arrays(base: nn.Module, hardware: Hardware, axes: Axes, time_s: float, deployment: Deployment) -> nn.Module:
    """Return the model on the arrays of a chip, through ideal wires: its read noise and its converters."""
    ideal_wires = hardware.map(lambda crossbar: crossbar.replace(parasitics=None))
    return program_prepared(copy.deepcopy(base), ideal_wires, axes, time_s=time_s, deployment=deployment)


def _redrawn(
    weights: GaussianWeights, batches: Iterable[Batch], examples: int, axes: Axes, task: Task
) -> Iterator[Batch]:
    """Yield all examples in blocks, however they are batched, and draw the weights anew before each block."""
    blocks, first, present = min(MOST_BLOCKS, -(-examples // BLOCK)), 0, -1
    for batch in batches:
        count, start = examples_in(task.unpack(batch)[1]), 0
        while start < count:
            block = (first + start) * blocks // examples
            stop = min(count, -(-(block + 1) * examples // blocks) - first)
            if block != present:
                weights.draw(axes.at(block=block))
                present = block
            yield select(batch, slice(start, stop))
            start = stop
        first += count


def _estimate(values: list[float], task: Task) -> dict[str, float]:
    """Return the mean of the passes and its 95 % interval, which ends where the metric does."""
    low, high = np.clip(t_interval(values), *task.primary.bounds)
    return {"predicted": float(np.mean(values)), "low": float(low), "high": float(high)}


def _left_out(condition: Condition) -> tuple[str, ...]:
    has_wires = isinstance(condition, Hardware) and any(crossbar.wires for crossbar in condition.crossbars)
    return ("IR drop",) if has_wires else ()
