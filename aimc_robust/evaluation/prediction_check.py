"""Where the prediction of `predict_loss` holds and where it breaks: beside Monte Carlo, at several error strengths."""

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from aimc_robust.data.batches import as_reiterable
from aimc_robust.errors import require_finite, require_whole
from aimc_robust.evaluation.loss_prediction import Conditions, named_pairs, predict_loss
from aimc_robust.evaluation.monte_carlo import Condition, Deployment, evaluate_chips
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.metrics import Batch
from aimc_robust.noise.base import WeightNoise
from aimc_robust.noise.gaussian import Gaussian
from aimc_robust.noise.laplace import Laplace
from aimc_robust.statistics.t_interval import t_interval

SCALES = (0.25, 0.5, 1.0, 2.0)
NEAR = 0.10  # of the rise that Monte Carlo finds: a prediction this close holds, however small the interval
COARSEST = 0.5  # of that rise: where the interval reaches further than this, agreement says nothing
Z = 1.959964  # of a 95 % interval


@dataclass(frozen=True)
class Validity:
    """Prediction beside Monte Carlo at several strengths of the error, on the same images.

    table: a row per condition and scale: `condition`, `time_s`, `scale` (factor on the error), `clean_loss`,
        `predicted`, `predicted_se`, `mc_loss` with its 95 % interval `mc_low` to `mc_high` over `chips`, `ratio`
        (predicted over simulated rise of the loss), `resolution` (half-width of the interval of agreement over the
        simulated rise) and `verdict`: `holds`, `breaks` or `undecided`, see `validate_prediction`.
    prediction_s, monte_carlo_s: wall time of each.
    """

    table: pd.DataFrame
    prediction_s: float
    monte_carlo_s: float


def validate_prediction(
    model: nn.Module,
    batches: Iterable[Batch],
    conditions: Conditions,
    *,
    scales: Sequence[float] = SCALES,
    chips: int = 10,
    seed: int = 0,
    probes: int = 50,
    images: int = 2000,
    jobs: int | None = None,
) -> Validity:
    """Where the prediction holds: beside Monte Carlo over `chips`, at the error times each of `scales`.

    For a crossbar the scale is a factor on its `error_scale`, and its read noise and converters are off in both; for
    another noise it is a factor on the perturbation. A row's prediction agrees when it lies in the 95 % interval of the
    chips, widened by that of Hutchinson's estimate, or when its rise is within 10 % of the simulated one. It `holds`
    when it agrees and a difference of half the simulated rise would have shown, else it is `undecided`: more chips
    tell. It `breaks` when it disagrees, or when a loss is not finite. jobs: as for
    `evaluate`. The rest: as for `predict_loss`.
    """
    require_whole("chips", chips, low=2)
    for scale in scales:
        require_finite("each of scales", scale)
    batches = as_reiterable(batches)
    grid = {
        (name, float(scale)): (scaled(condition, scale), time_s)
        for name, (condition, time_s) in named_pairs(conditions).items()
        for scale in scales
    }
    numbered = {str(number): pair for number, pair in enumerate(grid.values())}
    predicted = predict_loss(model, batches, numbered, seed=seed, probes=probes, images=images)
    began = time.perf_counter()
    rows = []
    for ((name, scale), (condition, time_s)), found in zip(
        grid.items(), predicted.table.itertuples(index=False), strict=True
    ):
        chips_of = evaluate_chips(
            model,
            batches,
            condition,
            chips=range(chips),
            seed=seed,
            deployment=Deployment(time_s=time_s),
            jobs=jobs,
        )
        losses = np.array([measured.loss for _, measured in chips_of])
        rows.append({"condition": name, "time_s": time_s, "scale": scale, **_compared(found, losses)})
    return Validity(pd.DataFrame(rows), predicted.seconds, time.perf_counter() - began)


def scaled(condition: Condition, scale: float) -> Condition:
    """The weight errors of a condition with `scale` times their strength; a crossbar's without read noise, converters.

    A crossbar's `error_scale` acts as `devices.cell_states` says: on the widths of programming and of a drift table.
    """
    match condition:
        case None:
            return None
        case Crossbar():
            return condition._replace_unchecked(
                error_scale=condition.error_scale * scale, read_noise=False, dac=None, adc=None
            )
        case Gaussian():
            return replace(condition, sigma=condition.sigma * scale)
        case Laplace():
            return replace(condition, b=condition.b * scale)
    return _Scaled(condition, scale)


@dataclass(frozen=True)
class _Scaled(WeightNoise):
    """w + scale * (noise(w) - w)."""

    noise: WeightNoise
    scale: float

    def perturb(self, name: str, weight: Tensor, generator: torch.Generator) -> Tensor:
        return torch.lerp(weight, self.noise.perturb(name, weight, generator), self.scale)


def _compared(found: Any, losses: np.ndarray) -> dict[str, Any]:
    """One row of `Validity`, from a row of the prediction and the losses of the chips."""
    simulated, (low, high) = float(losses.mean()), t_interval(losses)
    rise, wanted = found.predicted - found.clean_loss, simulated - found.clean_loss
    slack = Z * found.curvature_se
    resolution = ((high - low) / 2 + slack) / abs(wanted) if wanted else math.nan
    return {
        "clean_loss": found.clean_loss,
        "predicted": found.predicted,
        "predicted_se": found.curvature_se,
        "mc_loss": simulated,
        "mc_low": low,
        "mc_high": high,
        "chips": len(losses),
        "ratio": rise / wanted if wanted else math.nan,
        "resolution": resolution,
        "verdict": _verdict(rise, wanted, resolution),
    }


def _verdict(rise: float, wanted: float, resolution: float) -> str:
    """`holds`, `breaks` or `undecided`, see `validate_prediction`."""
    if not (math.isfinite(rise) and math.isfinite(wanted)):
        return "breaks"
    if not abs(rise - wanted) <= max(NEAR, resolution) * abs(wanted):
        return "breaks"
    return "holds" if resolution <= COARSEST else "undecided"
