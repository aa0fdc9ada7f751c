"""Where the prediction of `predict_loss` holds: comparison with Monte Carlo at several strengths of the error."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from aimc_robust.data.batches import Batches, as_reiterable
from aimc_robust.errors import DivergenceError, require_finite, require_whole
from aimc_robust.evaluation.loss_prediction import condition_times, predict_loss
from aimc_robust.evaluation.monte_carlo import MAX_CHIPS, Condition, evaluate_chips
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.config.placement import Placement
from aimc_robust.noise.base import WeightNoise, perturb_checked
from aimc_robust.noise.distributions import Gaussian, Laplace
from aimc_robust.statistics.t_interval import t_interval
from aimc_robust.tasks.measurement import Measurement
from aimc_robust.tasks.registry import TaskLike

Verdict = Literal["holds", "breaks", "undecided"]

DEFAULT_FACTORS = (0.25, 0.5, 1.0, 2.0)
TOLERANCE = 0.10  # of the simulated rise of the loss: a prediction this close holds, however small the interval
COARSEST_RESOLUTION = 0.5  # of that rise: agreement within a wider interval is no evidence
NORMAL_QUANTILE = 1.959964  # of a two-sided 95 % interval


@dataclass(frozen=True)
class PredictionCheck:
    """Prediction and Monte Carlo at several strengths of the error, on the same images.

    Attributes:
        table: One row per condition and factor: `condition`, `time_s`, `scale` (factor on the error), `clean_loss`,
            `predicted`, `predicted_se`, `mc_loss` with its 95 % interval `mc_low` to `mc_high` over `chips`, `ratio`
            (predicted over simulated rise of the loss), `resolution` (half-width of the interval of agreement over the
            simulated rise) and `verdict`: `holds`, `breaks` or `undecided`, see `check_prediction`.
        prediction_s: Wall time of the prediction [s].
        monte_carlo_s: Wall time of the Monte Carlo simulation [s].
    """

    table: pd.DataFrame
    prediction_s: float
    monte_carlo_s: float


def check_prediction(
    model: nn.Module,
    batches: Batches,
    conditions: Mapping[str, Condition],
    *,
    time_s: float | Mapping[str, float] = 0.0,
    scales: Sequence[float] = DEFAULT_FACTORS,
    chips: int = 10,
    chip_seed: int = 0,
    probes: int = 50,
    images: int = 2000,
    jobs: int | None = None,
    task: TaskLike = None,
) -> PredictionCheck:
    """Compare the prediction with Monte Carlo over `chips`, at the error times each of `scales`.

    For a crossbar the scale is a factor on its `error_scale`, and its read noise and converters are off in both; for
    another noise it is a factor on the perturbation. A prediction agrees if it lies in the 95 % interval of the chips,
    widened by that of Hutchinson's estimate, or if its rise is within 10 % of the simulated rise. It `holds` if it
    agrees and a difference of half the simulated rise would have been detected; otherwise it is `undecided`: use more
    chips. It `breaks` if it disagrees, or if a loss is not finite.

    Args:
        model: As for `predict_loss`, like the arguments that are not listed here.
        batches: Labelled data: (inputs, labels) batches such as a list or a DataLoader, one such pair, or `Images`.
        conditions: Name -> a Crossbar, a `Placement`, a weight noise, or None for digital weights.
        time_s: Seconds since programming: one time for all crossbars, or name -> time.
        scales: Factors on the error.
        chips: Number of chips, at least 2.
        chip_seed: Root seed of the chips and the probes.
        probes: Approximate number of probes of Hutchinson's estimate.
        images: Largest number of images for the curvature.
        jobs: Number of processes for Monte Carlo, as for `evaluate`.
        task: As for `predict_loss`.

    Raises:
        InputError: if an argument is invalid.
        DataError: if there are no images, or labels do not match the outputs.
    """
    require_whole("chips", chips, low=2, high=MAX_CHIPS)
    for scale in scales:
        require_finite("each of scales", scale)
    batches = as_reiterable(batches, task)
    times_s = condition_times(conditions, time_s)
    cases = [(name, float(scale)) for name in conditions for scale in scales]
    scaled = {str(number): scale_errors(conditions[name], scale) for number, (name, scale) in enumerate(cases)}
    case_times_s = {str(number): times_s[name] for number, (name, _) in enumerate(cases)}
    prediction = predict_loss(
        model, batches, scaled, time_s=case_times_s, chip_seed=chip_seed, probes=probes, images=images, task=task
    )
    began = time.perf_counter()
    rows = []
    predicted_rows = prediction.table.itertuples(index=False)
    for (name, scale), condition, predicted in zip(cases, scaled.values(), predicted_rows, strict=True):
        measurements = evaluate_chips(
            model,
            batches,
            condition,
            chips=range(chips),
            chip_seed=chip_seed,
            time_s=times_s[name],
            jobs=jobs,
            task=task,
        )
        try:
            losses = np.array([_loss(measurement) for _, measurement in measurements])
        except DivergenceError:
            losses = np.full(chips, math.nan)
        rows.append({"condition": name, "time_s": times_s[name], "scale": scale, **_compare(predicted, losses)})
    return PredictionCheck(pd.DataFrame(rows), prediction.seconds, time.perf_counter() - began)


def _loss(measurement: Measurement) -> float:
    assert measurement.loss is not None  # `predict_loss` refuses a task without one
    return measurement.loss


def scale_errors(condition: Condition, factor: float) -> Condition:
    """Return a condition whose weight errors are `factor` times as strong; a crossbar loses read noise and converters.

    The factor acts on a crossbar's `error_scale`, that is on the widths of programming error and of a drift table, or
    on the perturbation of another noise.
    """
    match condition:
        case None:
            return None
        case Crossbar() | Placement():
            return condition.map(lambda crossbar: _scaled(crossbar, factor))
        case Gaussian():
            return replace(condition, sigma=condition.sigma * factor)
        case Laplace():
            return replace(condition, b=condition.b * factor)
    return _ScaledNoise(condition, factor)


def _scaled(crossbar: Crossbar, factor: float) -> Crossbar:
    return crossbar.replace(error_scale=crossbar.device.error_scale * factor, read_noise=False, dac=None, adc=None)


@dataclass(frozen=True)
class _ScaledNoise(WeightNoise):
    """w + factor * (noise(w) - w)."""

    noise: WeightNoise
    factor: float

    def perturb(self, name: str, weight: Tensor, generator: torch.Generator) -> Tensor:
        return torch.lerp(weight, perturb_checked(self.noise, name, weight, generator), self.factor)


def _compare(predicted: Any, losses: np.ndarray) -> dict[str, Any]:
    """Return a row of `PredictionCheck` from a row of the prediction and the losses of the chips."""
    simulated, (low, high) = float(losses.mean()), t_interval(losses)
    predicted_rise, simulated_rise = predicted.predicted - predicted.clean_loss, simulated - predicted.clean_loss
    half_width = (high - low) / 2 + NORMAL_QUANTILE * predicted.curvature_se
    resolution = half_width / abs(simulated_rise) if simulated_rise else math.nan
    return {
        "clean_loss": predicted.clean_loss,
        "predicted": predicted.predicted,
        "predicted_se": predicted.curvature_se,
        "mc_loss": simulated,
        "mc_low": low,
        "mc_high": high,
        "chips": len(losses),
        "ratio": predicted_rise / simulated_rise if simulated_rise else math.nan,
        "resolution": resolution,
        "verdict": _verdict(predicted_rise, simulated_rise, resolution),
    }


def _verdict(predicted_rise: float, simulated_rise: float, resolution: float) -> Verdict:
    """Classify the agreement, see `check_prediction`."""
    if not (math.isfinite(predicted_rise) and math.isfinite(simulated_rise)):
        return "breaks"
    if not abs(predicted_rise - simulated_rise) <= max(TOLERANCE, resolution) * abs(simulated_rise):
        return "breaks"
    return "holds" if resolution <= COARSEST_RESOLUTION else "undecided"
