"""How large a device's errors are on a model's own weights, and the Gaussian noise that costs as much accuracy."""

import copy
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from torch import Tensor, nn

from aimc_robust.data.batches import as_reiterable
from aimc_robust.errors import InputError, require_whole
from aimc_robust.evaluation.monte_carlo import Condition, Deployment, evaluate_chips
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.conversion.prepare import prepare
from aimc_robust.hardware.programming.moments import model_moments
from aimc_robust.metrics import Batch
from aimc_robust.noise.analog_weights import analog_weights
from aimc_robust.noise.gaussian import Gaussian
from aimc_robust.noise.scales import SCALES, check_scale, weight_scale
from aimc_robust.noise.unwrap import unwrapped
from aimc_robust.statistics.accuracy_estimate import AccuracyEstimate
from aimc_robust.statistics.t_interval import t_interval

STEP = math.sqrt(2.0)  # from one sigma of the search to the next
STEPS = 10  # the search ends at 32 times, and at 1/32 of, the measured error


@dataclass(frozen=True)
class EquivalentSigma:
    """The strength of Gaussian weight noise that costs as much accuracy as a condition.

    sigma: where the mean accuracies agree, in units of `scale`; low, high: the sigmas whose difference from the
        condition the chips cannot tell from 0 (95 %); high is inf where the search found no end.
    identified: whether sigma is a measurement. When it is not, `reason` says why, sigma is the condition's root mean
        square error `rms` instead, and low to high is still what the chips leave possible.
    rms: of the weight errors, in units of `scale`, the systematic part included.
    digital_accuracy [percent]; device: the condition's own accuracies.
    curve: a row per sigma: `sigma`, its mean `accuracy`, the monotone `fitted` one, and the paired `difference`
        condition minus noise with its interval `low` to `high` [percentage points].
    """

    sigma: float
    low: float
    high: float
    identified: bool
    reason: str
    rms: float
    scale: str
    digital_accuracy: float
    device: AccuracyEstimate
    curve: pd.DataFrame


def layer_errors(model: nn.Module, condition: Condition, *, time_s: float = 0.0) -> pd.DataFrame:
    """The errors of each weight matrix over chips: a row per layer, and no Monte Carlo.

    Columns: `layer`, `weights`; for each scale of `weight_scale` but `absolute`, `std_<scale>`, the root mean variance,
    and `rms_<scale>`, the root mean square error with the systematic part, both relative to that scale of the trained
    weights. `rms_filter_max` compares with the sigma of RWP, `rms_layer_max` with error over max|W|. Filters of zeros
    have no scale and are left out. Weights are those after BatchNorm folding for a crossbar, else as they stand.
    time_s: since programming [s]. Raises as `program` does.
    """
    base = prepare(model)[0] if isinstance(condition, Crossbar) else copy.deepcopy(unwrapped(model)).eval()
    moments = model_moments(base, condition, time_s=time_s)
    rows = []
    for name, weight in analog_weights(base).items():
        matrix = weight.filters_first()
        row = {"layer": weight.layer, "weights": matrix.numel()}
        if name in moments:
            mean, variance = (weight.filters_first(part) for part in moments[name])
            square = variance + (mean - matrix).square()
        else:
            variance = square = matrix.new_zeros(matrix.shape)
        for scale in SCALES:
            if scale != "absolute":
                row[f"std_{scale}"] = _relative(variance, matrix, scale)
                row[f"rms_{scale}"] = _relative(square, matrix, scale)
        rows.append(row)
    return pd.DataFrame(rows)


def network_rms(errors: pd.DataFrame, scale: str) -> float:
    """The root mean square error over all weights of `layer_errors`, in units of `scale`."""
    found = errors[errors[f"rms_{scale}"].notna()]
    if found.empty:
        return math.nan
    return float(np.sqrt(np.average(found[f"rms_{scale}"] ** 2, weights=found["weights"])))


def equivalent_sigma(
    model: nn.Module,
    batches: Iterable[Batch],
    condition: Condition,
    *,
    chips: int = 10,
    seed: int = 0,
    time_s: float = 0.0,
    jobs: int | None = None,
    scale: str = "filter_max",
) -> EquivalentSigma:
    """The sigma of `Gaussian(sigma, scale)` that yields the same expected accuracy as `condition`.

    The search starts at the measured error and goes by factors of sqrt(2) both ways until the paired difference on the
    same chip numbers leaves 0 out of its 95 % interval; all sigmas share their draws. Accuracies and limits are made
    monotone in sigma (isotonic regression) and interpolated linearly. What is not told apart from digital weights, or
    not bracketed, is not identified: see `EquivalentSigma`.
    condition: with all that acts in it, read noise and converters too. time_s, jobs: as for `evaluate`.
    scale: any of `weight_scale` but `absolute`.
    Raises InputError or DataError for arguments that cannot be.
    """
    require_whole("chips", chips, low=2)
    check_scale(scale)
    if condition is None or scale == "absolute":
        raise InputError("expected a crossbar or a weight noise to compare with, and a scale relative to the weights.")
    batches = as_reiterable(batches)
    rms = network_rms(layer_errors(model, condition, time_s=time_s), scale)

    def accuracies(under: Condition, at_s: float = 0.0) -> np.ndarray:
        how = Deployment(time_s=at_s)
        found = evaluate_chips(model, batches, under, chips=range(chips), seed=seed, deployment=how, jobs=jobs)
        return np.array([measured.accuracy for _, measured in found])

    device, digital = accuracies(condition, time_s), float(accuracies(None)[0])
    rows = {0.0: _row(0.0, np.full(chips, digital), device)}

    def measured(sigma: float) -> dict[str, float]:
        if sigma not in rows:
            rows[sigma] = _row(sigma, accuracies(Gaussian(sigma, scale)), device)
        return rows[sigma]

    steps = [rms * STEP**k for k in range(STEPS + 1)] if rms > 0 else []
    _up_to(steps, lambda sigma: measured(sigma)["low"] > 0)
    if rows[0.0]["high"] < 0:
        _up_to([sigma / STEP ** (2 * k) for k, sigma in enumerate(steps)], lambda sigma: measured(sigma)["high"] < 0)
    curve = pd.DataFrame([rows[sigma] for sigma in sorted(rows)])
    curve.insert(2, "fitted", _monotone(curve["accuracy"], increasing=False))
    sigma = _crossing(curve["sigma"], device.mean() - curve["fitted"])
    reason = _unidentified(curve, digital, float(device.mean()))
    return EquivalentSigma(
        sigma=rms if reason else sigma,
        low=0.0 if rows[0.0]["high"] >= 0 else _crossing(curve["sigma"], curve["high"]),
        high=_crossing(curve["sigma"], curve["low"]),
        identified=not reason,
        reason=reason,
        rms=rms,
        scale=scale,
        digital_accuracy=digital,
        device=AccuracyEstimate(pd.DataFrame({"seed": 0, "chip": range(chips), "accuracy": device})),
        curve=curve,
    )


def _relative(squares: Tensor, matrix: Tensor, scale: str) -> float:
    """sqrt of the mean of squares / scale(w)^2; NaN where no filter has a scale."""
    size = weight_scale(matrix, scale).double().expand_as(matrix)
    kept = size > 0
    return float((squares.double()[kept] / size[kept].square()).mean().sqrt())


def _row(sigma: float, accuracies: np.ndarray, device: np.ndarray) -> dict[str, float]:
    low, high = t_interval(device - accuracies)
    return {
        "sigma": sigma,
        "accuracy": float(accuracies.mean()),
        "difference": float((device - accuracies).mean()),
        "low": low,
        "high": high,
    }


def _monotone(values: pd.Series, *, increasing: bool) -> np.ndarray:
    """The nearest monotone values."""
    from scipy.optimize import isotonic_regression  # slow to import, and seldom needed

    return isotonic_regression(values, increasing=increasing).x


def _up_to(sigmas: Iterable[float], reached: Callable[[float], bool]) -> None:
    """Measure one sigma after another until the paired difference is told apart from 0."""
    for sigma in sigmas:
        if reached(sigma):
            return


def _crossing(sigmas: pd.Series, differences: pd.Series) -> float:
    """The sigma at which `differences`, made monotone, crosses 0 from below; 0 or inf where it lies above or below."""
    rising = _monotone(differences, increasing=True)
    above = int(np.searchsorted(rising, 0.0, side="left"))
    if above == 0:
        return 0.0
    if above == len(rising):
        return math.inf
    (x, y), (d, e) = sigmas.iloc[above - 1 : above + 1], rising[above - 1 : above + 1]
    return float(x + (y - x) * -d / (e - d))


def _unidentified(curve: pd.DataFrame, digital: float, device: float) -> str:
    """Why no sigma can be named; empty where one can."""
    if curve["high"].iloc[0] >= 0:
        return (
            f"the accuracy under the condition, {device:.2f} %, is not told apart from that of digital weights, "
            f"{digital:.2f} %; more chips, or harder images, may tell."
        )
    if not curve["low"].gt(0).any():
        return (
            f"Gaussian noise up to sigma {curve['sigma'].iloc[-1]:.3g} never costs more than the condition, which "
            f"leaves {device:.2f} %: it may leave nothing but chance."
        )
    return ""
