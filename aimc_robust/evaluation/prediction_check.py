"""Where the prediction of `predict_loss` holds: comparison with Monte Carlo at several strengths of the error."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from aimc_robust.data.batches import Batches, as_reiterable
from aimc_robust.errors import require_finite, require_whole
from aimc_robust.evaluation.controlled_losses import controlled_losses
from aimc_robust.evaluation.loss_prediction import condition_times, predict_loss
from aimc_robust.evaluation.monte_carlo import MAX_CHIPS, Condition, chip_evaluation
from aimc_robust.float32_convolutions import float32_convolutions
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.config.placement import Placement
from aimc_robust.noise.base import WeightNoise, own_source, perturb_checked
from aimc_robust.noise.distributions import Gaussian, Laplace
from aimc_robust.parallel.process_pool import check_jobs
from aimc_robust.seeding import Axes
from aimc_robust.statistics.t_interval import t_interval
from aimc_robust.tasks.registry import TaskLike

Verdict = Literal["holds", "does not hold", "cannot tell"]

DEFAULT_FACTORS = (0.25, 0.5, 1.0, 2.0)
TOLERANCE = 0.10  # of the simulated rise of the loss: the largest error of a predicted rise that holds
ROUNDING = 1e-6  # of the clean loss: rises that differ by less are equal in float32
NORMAL_QUANTILE = 1.959964  # of a two-sided 95 % interval


@dataclass(frozen=True)
class PredictionCheck:
    """Prediction and Monte Carlo at several strengths of the error, on the same images.

    Attributes:
        table: One row per condition and factor: `condition`, `time_s`, `scale` (factor on the error), `clean_loss`,
            `predicted`, `predicted_se`, `mc_loss` with its 95 % interval `mc_low` to `mc_high` over `chips`, `ratio`
            (predicted over simulated rise of the loss), `resolution` (half-width of the ratio's 95 % interval) and
            `verdict`: `holds`, `does not hold` or `cannot tell`, see `check_prediction`.
        prediction_s: Wall time of the prediction [s].
        monte_carlo_s: Wall time of the Monte Carlo simulation [s].
    """

    table: pd.DataFrame
    prediction_s: float
    monte_carlo_s: float


@float32_convolutions()
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

    For a crossbar the scale is a factor on its `error_scale`, and its read noise, IR drop and converters are off in
    both; for another noise it is a factor on the perturbation. A prediction `holds` if its rise of the loss is within
    10 % of the simulated rise, with 95 % confidence given the errors of both. It `does not hold` if it is farther away
    with that confidence, or if a loss is not finite. Otherwise the verdict is `cannot tell`: `resolution` must be
    below 0.1, so use more chips, and more probes if `predicted_se` is the larger error. Losses of chips have a control
    variate, see `controlled_losses`.

    Args:
        model: As for `predict_loss`, like the arguments that are not listed here.
        batches: Labelled data: (inputs, labels) batches such as a list or a DataLoader, one such pair, or `Images`.
        conditions: Name -> a Crossbar, a `Placement`, a weight noise, or None for digital weights.
        time_s: Seconds since programming: one time for all crossbars, or name -> time.
        scales: Factors on the error.
        chips: Number of chips, at least 2.
        chip_seed: Root seed of the chips and the probes.
        probes: Approximate number of probes of the prediction.
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
        evaluation = chip_evaluation(model, batches, condition, chip_seed=chip_seed, time_s=times_s[name], task=task)
        check_jobs(evaluation.model, jobs)
        losses = controlled_losses(evaluation, range(chips), jobs=jobs)
        rows.append({"condition": name, "time_s": times_s[name], "scale": scale, **_compare(predicted, losses)})
    return PredictionCheck(pd.DataFrame(rows), prediction.seconds, time.perf_counter() - began)


def scale_errors(condition: Condition, factor: float) -> Condition:
    """Return a condition whose weight errors are `factor` times as strong; a crossbar keeps no error but theirs.

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
    weights_alone: dict[str, Any] = {
        "read_noise": False,
        "parasitics": None,
        "dac": None,
        "output_noise": 0.0,
        "adc": None,
    }
    return crossbar.replace(error_scale=crossbar.device.error_scale * factor, **weights_alone)


@dataclass(frozen=True)
class _ScaledNoise(WeightNoise):
    """w + factor * (noise(w) - w)."""

    noise: WeightNoise
    factor: float

    accepts_axes: ClassVar[bool] = True

    def perturb(self, name: str, weight: Tensor, generator: torch.Generator | Axes) -> Tensor:
        source = own_source(self.noise, generator) if isinstance(generator, Axes) else generator
        return torch.lerp(weight, perturb_checked(self.noise, name, weight, source), self.factor)


def _compare(predicted: Any, losses: np.ndarray) -> dict[str, Any]:
    """Return a row of `PredictionCheck` from a row of the prediction and the losses of the chips."""
    clean = predicted.clean_loss
    simulated, (low, high) = float(losses.mean()), t_interval(losses)
    rises = (
        Rise(predicted.predicted - clean, NORMAL_QUANTILE * predicted.predicted_se),
        Rise(simulated - clean, (high - low) / 2),
    )
    return {
        "clean_loss": clean,
        "predicted": predicted.predicted,
        "predicted_se": predicted.predicted_se,
        "mc_loss": simulated,
        "mc_low": low,
        "mc_high": high,
        "chips": len(losses),
        "ratio": rises[0].size / rises[1].size if rises[1].size else math.nan,
        "resolution": _resolution(*rises),
        "verdict": judge(*rises, rounding=ROUNDING * abs(clean)),
    }


class Rise(NamedTuple):
    """A rise of the loss and the half-width of its 95 % interval."""

    size: float
    half_width: float


def _resolution(predicted: Rise, simulated: Rise) -> float:
    if not simulated.size:
        return math.nan
    ratio = predicted.size / simulated.size
    return math.hypot(predicted.half_width, ratio * simulated.half_width) / abs(simulated.size)


def judge(predicted: Rise, simulated: Rise, *, rounding: float = 0.0) -> Verdict:
    """Judge a predicted rise, see `check_prediction`; differences of up to `rounding` are none.

    It holds if both differences predicted - 0.9 simulated and 1.1 simulated - predicted are above 0 by more than the
    half-widths of their intervals, in which the independent errors of the two rises add in squares.
    """
    if not (math.isfinite(predicted.size) and math.isfinite(simulated.size)):
        return "does not hold"
    verdicts, sign = [], math.copysign(1.0, simulated.size)
    for factor, side in ((1.0 - TOLERANCE, sign), (1.0 + TOLERANCE, -sign)):
        margin = side * (predicted.size - factor * simulated.size) + rounding
        half_width = math.hypot(predicted.half_width, factor * simulated.half_width)
        verdicts.append((margin >= half_width, margin < -half_width))
    if any(is_outside for _, is_outside in verdicts):
        return "does not hold"
    return "holds" if all(is_inside for is_inside, _ in verdicts) else "cannot tell"
