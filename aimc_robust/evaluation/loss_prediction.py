"""The expected loss on a device without Monte Carlo over chips, from the mean and the variance of every weight.

    E L(w') ~ L(m) + E (L(m + z) - L(m)),    m = E w',  z ~ N(0, Var w') independent between weights

The first term contains what all chips have in common (a drift of the mean, clipping, stuck cells) exactly, by one
inference. The second is what the random errors add: their curvature term, taken at the device's own width and not from
a Hessian at one point, see `expected_rise`. Read noise, IR drop and converters are not part of the prediction.
"""

import copy
import math
import time
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from types import NoneType
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from aimc_robust.analysis.expected_rise import ExpectedRise, expected_rise, mean_gradient
from aimc_robust.data.batches import Batches, as_reiterable
from aimc_robust.devices.limits import require_time
from aimc_robust.devices.moments import Moments
from aimc_robust.errors import DivergenceError, InputError, require_type, require_whole, short_repr, unknown_name
from aimc_robust.evaluation.image_parts import image_parts
from aimc_robust.evaluation.monte_carlo import Condition
from aimc_robust.float32_convolutions import float32_convolutions
from aimc_robust.hardware.config.deployment import Deployment
from aimc_robust.hardware.config.placement import Hardware
from aimc_robust.hardware.conversion.prepare import plain_copy, prepare
from aimc_robust.hardware.program import folds
from aimc_robust.hardware.programming.moments import SAMPLED_DRAWS, has_closed_form, model_moments
from aimc_robust.noise.analog_weights import layer_name
from aimc_robust.noise.base import WeightNoise
from aimc_robust.tasks.batches import Batch
from aimc_robust.tasks.measurement import Measurement
from aimc_robust.tasks.model_score import no_loss
from aimc_robust.tasks.registry import TaskLike, as_task
from aimc_robust.tasks.task import Task


@dataclass(frozen=True)
class LossPrediction:
    """The expected loss under each condition; losses are mean cross-entropies [nats].

    Attributes:
        table: One row per condition: `condition`, `time_s`, `clean_loss`, `mean_weight_loss` L(E w'), `curvature`, what
            random errors around the mean weights add, with its standard error `curvature_se`, and `predicted`, the sum
            of `mean_weight_loss` and `curvature`, with its standard error `predicted_se`: that of the curvature and,
            for a noise without closed form, of its mean weights.
        layers: One row per condition and weight matrix (a bias that is stored in rows under its own name): `layer`,
            its part of the `curvature`, and its `share` of the total, which may be negative.
        left_out: Condition -> what the prediction does not contain: `read noise`, `IR drop`, `DAC`, `ADC`.
        seconds: Wall time [s].
    """

    table: pd.DataFrame
    layers: pd.DataFrame
    left_out: dict[str, tuple[str, ...]]
    seconds: float


@float32_convolutions()
def predict_loss(
    model: nn.Module,
    batches: Batches,
    conditions: Mapping[str, Condition],
    *,
    time_s: float | Mapping[str, float] = 0.0,
    deployment: Deployment | None = None,
    chip_seed: int = 0,
    probes: int = 50,
    images: int = 2000,
    task: TaskLike = None,
) -> LossPrediction:
    """Predict the expected loss of a model under each condition, without Monte Carlo over chips.

    The model is evaluated as in `evaluate`: with BatchNorm folded for crossbars, unchanged for other noises.

    Args:
        model: The trained model; not modified.
        batches: Labelled data: (inputs, labels) batches such as a list or a DataLoader, one such pair, or `Images`.
        conditions: Name -> a Crossbar, a `Placement`, a weight noise, or None for digital weights.
        time_s: Seconds since programming: one time for all crossbars, or name -> time (names that are missing: 0).
        deployment: Whether BatchNorms are folded for crossbars. Converters are not part of the prediction, so that
            ranges have no effect; another backend than `native` or a compensation raises an error.
        chip_seed: Root seed of the probes, and of the draws of a noise without closed form.
        probes: Approximate number of probes: random weight errors, each at +z and -z. Every two probes use their own
            part of the images, so that more probes cost little until parts have a few images. All conditions use the
            same probes: their errors are correlated. The prediction does not depend on how the data are batched.
        images: Largest number of images for the curvature, spread evenly over the data; its standard error covers the
            images that are left out. The other losses are those of all images. Each costs four gradients per condition.
        task: Whose loss is predicted, as for `evaluate`.

    Raises:
        InputError: if an argument is invalid.
        UnknownNameError: if `time_s` names a condition that does not exist.
        DataError: if there are no images, or labels do not match the outputs.
    """
    began = time.perf_counter()
    require_whole("probes", probes, low=2)
    require_whole("images", images, low=2)
    require_whole("chip_seed", chip_seed, low=0)
    require_type("model", model, nn.Module, example="a torch.nn.Module")
    require_type("deployment", deployment, (Deployment, NoneType), example="a Deployment or None")
    if deployment is not None and (deployment.backend != "native" or deployment.compensation):
        raise InputError("the prediction covers the native backend without compensation; change the deployment.")
    task = as_task(task)
    batches = as_reiterable(batches, task)
    times_s = condition_times(conditions, time_s)
    rows: dict[str, dict[str, Any]] = {}
    layers: dict[str, list[dict[str, Any]]] = {}
    for on_crossbars in (True, False):
        group = {name: c for name, c in conditions.items() if isinstance(c, Hardware) == on_crossbars}
        if not group:
            continue
        get_example, fold = partial(task.example, batches), folds(deployment)
        base = prepare(model, get_example, fold=fold)[0] if on_crossbars else plain_copy(model)
        errors, losses, mean_errors, clean = [], [], [], _clean(base, batches, task)
        for name, condition in group.items():
            moments = model_moments(base, condition, time_s=times_s[name], chip_seed=chip_seed)
            losses.append(loss_at(base, {key: moment.mean for key, moment in moments.items()}, batches, task))
            errors.append(moments)
            mean_errors.append(_mean_error(base, condition, moments, batches, task))
        parts = image_parts(batches, probes, images, task)
        rise = expected_rise(base, parts, errors, loss_fn=task, seed=chip_seed)
        standard_errors = rise.standard_error(sampled_fraction=float(rise.items.sum()) / clean.n)
        for number, (name, loss) in enumerate(zip(group, losses, strict=True)):
            key = {"condition": name, "time_s": times_s[name]}
            curvature, error = float(rise.total[number]), float(standard_errors[number])
            rows[name] = key | _row(_loss(clean), loss, curvature, error, mean_errors[number])
            layers[name] = [key | part for part in _layer_parts(rise, number, errors[number])]
    return LossPrediction(
        table=pd.DataFrame([rows[name] for name in conditions]),
        layers=pd.DataFrame(
            [part for name in conditions for part in layers[name]],
            columns=["condition", "time_s", "layer", "curvature", "share"],
        ),
        left_out={name: _left_out(condition) for name, condition in conditions.items()},
        seconds=time.perf_counter() - began,
    )


def condition_times(conditions: Mapping[str, Condition], time_s: float | Mapping[str, float]) -> dict[str, float]:
    """Return the time [s] of each condition, after a check of both arguments.

    `time_s` is one time for all crossbars, or name -> time. Other conditions have the time 0 unless they are named.

    Raises:
        InputError: if a condition or a time is invalid.
        UnknownNameError: if `time_s` names a condition that does not exist.
    """
    if not isinstance(conditions, Mapping) or not conditions:
        raise InputError(f"conditions must map at least one name to a condition, got {short_repr(conditions)}.")
    for name, condition in conditions.items():
        if condition is not None and not isinstance(condition, WeightNoise):
            raise InputError(f"the condition {name!r} must be a Crossbar, a weight noise or None, got {condition!r}.")
    if isinstance(time_s, Mapping):
        for name in time_s:
            if name not in conditions:
                raise unknown_name("condition of a time", name, conditions)
        times_s = {name: time_s.get(name, 0.0) for name in conditions}
    else:
        require_time(time_s)
        times_s = {name: time_s if isinstance(c, Hardware) else 0.0 for name, c in conditions.items()}
    return times_s


def loss_at(base: nn.Module, weights: Mapping[str, Tensor], batches: Iterable[Batch], task: Task) -> float:
    """Return the loss of `base` with these parameters in place of its own; NaN if its outputs are."""
    twin = copy.deepcopy(base)
    with torch.no_grad():
        for name, parameter in twin.named_parameters():
            if name in weights:
                parameter.copy_(weights[name])
    try:
        return _loss(task.measure(twin, batches))
    except DivergenceError:
        return math.nan


def _clean(base: nn.Module, batches: Iterable[Batch], task: Task) -> Measurement:
    try:
        return task.measure(base, batches)
    except DivergenceError as error:
        raise DivergenceError(f"the trained weights: {error}") from None


def _loss(measurement: Measurement) -> float:
    if measurement.loss is None:
        raise no_loss()
    return measurement.loss


def _mean_error(
    base: nn.Module, condition: Condition, moments: Mapping[str, Moments], batches: Iterable[Batch], task: Task
) -> float:
    """Return the standard error of the loss at mean weights that are estimated from draws; 0 for a closed form."""
    if condition is None or has_closed_form(condition):
        return 0.0
    gradient = mean_gradient(base, batches, {name: moment.mean for name, moment in moments.items()}, loss_fn=task)
    squares = [float((g.square() * moments[name].variance).sum(dtype=torch.float64)) for name, g in gradient.items()]
    return math.sqrt(sum(squares) / SAMPLED_DRAWS)


def _row(clean: float, at_mean: float, curvature: float, error: float, mean_error: float) -> dict[str, float]:
    return {
        "clean_loss": clean,
        "mean_weight_loss": at_mean,
        "curvature": curvature,
        "curvature_se": error,
        "predicted": at_mean + curvature,
        "predicted_se": math.hypot(error, mean_error),
    }


def _layer_parts(rise: ExpectedRise, number: int, names: Container[str]) -> list[dict[str, Any]]:
    parts = dict(zip(rise.names, rise.per_parameter[number].tolist(), strict=True))
    total = math.fsum(parts.values()) or math.nan
    return [
        {"layer": layer_name(name), "curvature": part, "share": part / total}
        for name, part in parts.items()
        if name in names
    ]


def _left_out(condition: Condition) -> tuple[str, ...]:
    if not isinstance(condition, Hardware):
        return ()
    crossbars = condition.crossbars
    parts = {
        "read noise": any(crossbar.device.reads_with_noise for crossbar in crossbars),
        "IR drop": any(crossbar.wires is not None for crossbar in crossbars),
        "DAC": any(crossbar.periphery.dac is not None for crossbar in crossbars),
        "output noise": any(crossbar.periphery.output_noise > 0 for crossbar in crossbars),
        "ADC": any(crossbar.periphery.adc is not None for crossbar in crossbars),
    }
    return tuple(name for name, present in parts.items() if present)
