"""The Gaussian weight noise that costs as much as a device."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from torch import nn

from aimc_robust.data.batches import Batches, as_reiterable
from aimc_robust.errors import InputError, require_whole
from aimc_robust.evaluation.layer_errors import layer_errors, network_rms
from aimc_robust.evaluation.monte_carlo import MAX_CHIPS, Condition, evaluate_chips
from aimc_robust.hardware.config.deployment import Deployment
from aimc_robust.hardware.program import folds
from aimc_robust.noise.distributions import Gaussian
from aimc_robust.noise.scales import NoiseScale, check_scale
from aimc_robust.statistics.estimate import Estimate
from aimc_robust.statistics.primary_metric import PrimaryMetric
from aimc_robust.statistics.t_interval import t_interval
from aimc_robust.tasks.registry import TaskLike, as_task
from aimc_robust.training.config import Precision

SIGMA_FACTOR = math.sqrt(2.0)  # between neighbouring sigmas of the search
MAX_STEPS = 10  # the search ends at 32 times, and at 1/32 of, the measured error


@dataclass(frozen=True)
class EquivalentSigma:
    """The strength of Gaussian weight noise that makes the task's primary metric as much worse as a condition does.

    Attributes:
        sigma: Strength at which the mean metrics agree, in units of `scale`.
        low: Smallest sigma whose difference from the condition is not significant (95 %).
        high: Largest such sigma; inf if the search did not find one.
        identified: Whether sigma is a measurement. If not, sigma is `rms`, the root mean square of the weight
            errors, instead, and low to high are the sigmas that the chips do not rule out.
        reason: Why sigma is not identified; empty if it is.
        rms: Root mean square of the weight errors, in units of `scale`, including the systematic part.
        scale: What sigma is relative to, see `noise.scales.weight_scale`.
        digital: The primary metric with digital weights.
        device: The primary metric under the condition.
        curve: One row per sigma: `sigma`, its mean `value`, the monotone fit `fitted`, and the paired `difference`: how
            much worse the noise is than the condition, with its interval `low` to `high`.
    """

    sigma: float
    low: float
    high: float
    identified: bool
    reason: str
    rms: float
    scale: NoiseScale
    digital: float
    device: Estimate
    curve: pd.DataFrame


def equivalent_sigma(
    model: nn.Module,
    batches: Batches,
    condition: Condition,
    *,
    chips: int = 10,
    chip_seed: int = 0,
    time_s: float = 0.0,
    deployment: Deployment | None = None,
    jobs: int | None = None,
    scale: NoiseScale = "filter_max",
    task: TaskLike = None,
    forward_precision: Precision = "32-true",
) -> EquivalentSigma:
    """Find the sigma of `Gaussian(sigma, scale)` that gives the same expected primary metric as a condition.

    The search starts at the measured error and proceeds by factors of sqrt(2) in both directions until the 95 %
    interval of the paired difference on the same chip numbers excludes 0; all sigmas share their draws. Means and
    limits are made monotone in sigma (isotonic regression) and interpolated linearly. If the condition is
    indistinguishable from digital weights, or not bracketed, sigma is not identified, see `EquivalentSigma`.

    Args:
        model: The trained model; not modified.
        batches: Labelled data: (inputs, labels) batches such as a list or a DataLoader, one such pair, or `Images`.
        condition: A Crossbar, a `Placement` or a weight noise, with everything that acts in it, including read noise
            and converters.
        chips: Number of chips, at least 2.
        chip_seed: Root seed of all chips.
        time_s: Seconds since programming of a crossbar.
        deployment: Converter ranges, backend and compensation of a crossbar.
        jobs: As for `evaluate`.
        scale: Any scale of `weight_scale` except `absolute`.
        task: As for `evaluate`.
        forward_precision: As for `evaluate`.

    Raises:
        InputError: if an argument is invalid.
        DataError: if there are no images, or labels do not match the outputs.
    """
    require_whole("chips", chips, low=2, high=MAX_CHIPS)
    check_scale(scale)
    if condition is None:
        raise InputError("condition must be a Crossbar or a weight noise, got None.")
    if scale == "absolute":
        raise InputError("scale must be relative to the weights, such as 'layer_max', got 'absolute'.")
    task = as_task(task)
    metric, batches = task.primary, as_reiterable(batches, task)
    rms = network_rms(layer_errors(model, condition, time_s=time_s, fold=folds(deployment)), scale)

    def values(tested: Condition, at_s: float = 0.0, deployed: Deployment | None = None) -> np.ndarray:
        measurements = evaluate_chips(
            model,
            batches,
            tested,
            chips=range(chips),
            chip_seed=chip_seed,
            time_s=at_s,
            deployment=deployed,
            jobs=jobs,
            task=task,
            forward_precision=forward_precision,
        )
        return np.array([measurement.value for _, measurement in measurements])

    device, digital = values(condition, time_s, deployment), float(values(None)[0])
    curve = _curve(lambda sigma: values(Gaussian(sigma, scale)), rms, device, digital, metric)
    sigma = _crossing(curve["sigma"], metric.loss_of(device.mean(), curve["fitted"]))
    reason = _reason_not_identified(curve, digital, float(device.mean()), metric)
    return EquivalentSigma(
        sigma=rms if reason else sigma,
        low=0.0 if curve["high"].iloc[0] >= 0 else _crossing(curve["sigma"], curve["high"]),
        high=_crossing(curve["sigma"], curve["low"]),
        identified=not reason,
        reason=reason,
        rms=rms,
        scale=scale,
        digital=digital,
        device=Estimate(pd.DataFrame({"train_seed": 0, "chip": range(chips), metric.name: device}), metric=metric),
        curve=curve,
    )


def _curve(
    values: Callable[[float], np.ndarray], rms: float, device: np.ndarray, digital: float, metric: PrimaryMetric
) -> pd.DataFrame:
    """Measure sigmas until the condition is bracketed; return the rows of `EquivalentSigma.curve`, sigma 0 first."""
    rows = {0.0: _row(0.0, np.full(len(device), digital), device, metric)}

    def row(sigma: float) -> dict[str, float]:
        if sigma not in rows:
            rows[sigma] = _row(sigma, values(sigma), device, metric)
        return rows[sigma]

    sigmas = [rms * SIGMA_FACTOR**k for k in range(MAX_STEPS + 1)] if rms > 0 else []
    for sigma in sigmas:
        if row(sigma)["low"] > 0:
            break
    if rows[0.0]["high"] < 0:
        for k, sigma in enumerate(sigmas):
            if row(sigma / SIGMA_FACTOR ** (2 * k))["high"] < 0:
                break
    curve = pd.DataFrame([rows[sigma] for sigma in sorted(rows)])
    curve.insert(2, "fitted", _monotone(curve["value"], increasing=not metric.is_higher_better))
    return curve


def _row(sigma: float, values: np.ndarray, device: np.ndarray, metric: PrimaryMetric) -> dict[str, float]:
    difference = metric.loss_of(device, values)
    low, high = t_interval(difference)
    return {
        "sigma": sigma,
        "value": float(values.mean()),
        "difference": float(difference.mean()),
        "low": low,
        "high": high,
    }


def _monotone(values: pd.Series, *, increasing: bool) -> np.ndarray:
    """Return the nearest monotone values (isotonic regression)."""
    from scipy.optimize import isotonic_regression  # slow to import, and rarely needed

    return isotonic_regression(values, increasing=increasing).x


def _crossing(sigmas: pd.Series, differences: pd.Series) -> float:
    """Return the sigma at which `differences`, made monotone, crosses 0 from below; 0 or inf if it does not."""
    rising = _monotone(differences, increasing=True)
    above = int(np.searchsorted(rising, 0.0, side="left"))
    if above == 0:
        return 0.0
    if above == len(rising):
        return math.inf
    (x, y), (d, e) = sigmas.iloc[above - 1 : above + 1], rising[above - 1 : above + 1]
    return float(x + (y - x) * -d / (e - d))


def _reason_not_identified(curve: pd.DataFrame, digital: float, device: float, metric: PrimaryMetric) -> str:
    """Return why sigma is not identified; empty if it is."""
    if curve["high"].iloc[0] >= 0:
        return (
            f"the {metric.title} under the condition, {metric.text(device)}, does not differ significantly from that "
            f"of digital weights, {metric.text(digital)}; use more chips, or harder data."
        )
    if not curve["low"].gt(0).any():
        return (
            f"Gaussian noise up to sigma {curve['sigma'].iloc[-1]:.3g} never costs more than the condition, which "
            f"leaves {metric.text(device)}: that may be what guessing gives."
        )
    return ""
