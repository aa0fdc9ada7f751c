"""The expected loss on a device without Monte Carlo: to second order around the weights that chips hold on average.

    E L(w') ~ L(E w') + 1/2 sum_i Var(w'_i) H_ii

The first term takes what chips have in common (a drift of the mean, clipping, stuck cells) whole, by one inference; the
second what is random, with Hutchinson's estimate of the diagonal of the loss's Hessian H at the trained weights: one
pass serves every device and time. The errors of different weights are independent, so no other entry of H counts. Read
noise and converters have no part in it.
"""

import copy
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from aimc_robust.analysis.hutchinson import Contraction, contract_hessian
from aimc_robust.data.batches import as_reiterable
from aimc_robust.errors import InputError, require_whole
from aimc_robust.evaluation.monte_carlo import Condition
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.conversion.prepare import prepare
from aimc_robust.hardware.programming.moments import model_moments
from aimc_robust.metrics import Batch, measure
from aimc_robust.noise.analog_weights import layer_name
from aimc_robust.noise.base import WeightNoise
from aimc_robust.noise.unwrap import unwrapped

Conditions = Mapping[str, Condition | tuple[Condition, float]]
"""Name -> a crossbar, a weight noise or None; or a pair of it and the time since programming [s]."""

PROBES = 2  # of the same images, whose difference tells the estimate's error


@dataclass(frozen=True)
class Prediction:
    """The expected loss under each condition; losses are mean cross-entropies [nats].

    table: a row per condition: `condition`, `time_s`, `clean_loss`, `mean_weight_loss` L(E w'), `curvature`
        1/2 sum_i Var_i H_ii with its standard error `curvature_se`, and `predicted`, the sum of the last two losses.
    layers: a row per condition and weight matrix (a bias that has rows by its own name): `layer`, its part of the
        `curvature`, and its `share` of the whole, which may be negative.
    left_out: condition -> what of it the prediction does not hold: `read noise`, `DAC`, `ADC`.
    seconds: wall time that it took.
    """

    table: pd.DataFrame
    layers: pd.DataFrame
    left_out: dict[str, tuple[str, ...]]
    seconds: float


def predict_loss(
    model: nn.Module,
    batches: Iterable[Batch],
    conditions: Conditions,
    *,
    seed: int = 0,
    probes: int = 50,
    images: int = 2000,
) -> Prediction:
    """The expected loss of `model` under each condition, to second order, without Monte Carlo.

    The model is taken as `evaluate_chips` takes it: with BatchNorm folded for crossbars, as it stands for other noises.
    images: the most that the curvature is taken from, spread evenly over the batches; its standard error covers what
        that leaves out. The other losses are those of all images.
    probes: of Hutchinson's estimate, about; each two have their part of the images, so that more cost little until
        parts are of a few images. All conditions meet the same ones: their errors go the same way. seed: of the probes.
    Raises InputError or DataError for arguments that cannot be.
    """
    began = time.perf_counter()
    require_whole("probes", probes, low=2)
    require_whole("images", images, low=2)
    batches = as_reiterable(batches)
    asked, total = named_pairs(conditions), sum(len(labels) for _, labels in batches)
    rows: dict[str, dict[str, Any]] = {}
    layers: dict[str, list[dict[str, Any]]] = {}
    for on_crossbars in (True, False):
        group = {name: pair for name, pair in asked.items() if isinstance(pair[0], Crossbar) == on_crossbars}
        if not group:
            continue
        base = prepare(model)[0] if on_crossbars else copy.deepcopy(unwrapped(model)).eval()
        variances, losses, clean = [], [], measure(base, batches).loss
        for condition, time_s in group.values():
            moments = model_moments(base, condition, time_s=time_s, seed=seed)
            losses.append(_loss_at(base, {name: found.mean for name, found in moments.items()}, batches))
            variances.append({name: found.variance for name, found in moments.items()})
        bent = contract_hessian(base, _parts_of(batches, probes, images), variances, seed=seed, probes=PROBES)
        errors = 0.5 * bent.standard_error(share=float(bent.images.sum()) / total)
        for number, ((name, (_, time_s)), loss) in enumerate(zip(group.items(), losses, strict=True)):
            named = {"condition": name, "time_s": time_s}
            rows[name] = named | _row(clean, loss, 0.5 * float(bent.total[number]), float(errors[number]))
            layers[name] = [named | part for part in _parts(bent, number, variances[number])]
    return Prediction(
        pd.DataFrame([rows[name] for name in asked]),
        pd.DataFrame(
            [part for name in asked for part in layers[name]], columns=[*named, "layer", "curvature", "share"]
        ),
        {name: _left_out(condition) for name, (condition, _) in asked.items()},
        time.perf_counter() - began,
    )


def named_pairs(conditions: Conditions) -> dict[str, tuple[Condition, float]]:
    """Name -> (condition, time [s]). Raises InputError for what is no condition."""
    if not isinstance(conditions, Mapping) or not conditions:
        raise InputError(f"conditions must be a mapping of at least one name to a condition, got {conditions!r}.")
    pairs = {name: pair if isinstance(pair, tuple) else (pair, 0.0) for name, pair in conditions.items()}
    for name, (condition, _) in pairs.items():
        if condition is not None and not isinstance(condition, WeightNoise):
            raise InputError(f"the condition {name!r} must be a Crossbar, a weight noise or None, got {condition!r}.")
    return pairs


def _loss_at(base: nn.Module, weights: Mapping[str, Tensor], batches: Iterable[Batch]) -> float:
    """The loss of `base` with these weights in place of its own."""
    twin = copy.deepcopy(base)
    with torch.no_grad():
        for name, parameter in twin.named_parameters():
            if name in weights:
                parameter.copy_(weights[name])
    return measure(twin, batches).loss


def _row(clean: float, at_mean: float, curvature: float, error: float) -> dict[str, float]:
    return {
        "clean_loss": clean,
        "mean_weight_loss": at_mean,
        "curvature": curvature,
        "curvature_se": error,
        "predicted": at_mean + curvature,
    }


def _parts(bent: Contraction, number: int, variances: Mapping[str, Tensor]) -> list[dict[str, Any]]:
    parts = dict(zip(bent.names, (0.5 * bent.per_parameter[number]).tolist(), strict=True))
    whole = math.fsum(parts.values()) or math.nan
    return [
        {"layer": layer_name(name), "curvature": parts[name], "share": parts[name] / whole}
        for name in bent.names
        if name in variances
    ]


def _left_out(condition: Condition) -> tuple[str, ...]:
    if not isinstance(condition, Crossbar):
        return ()
    parts = {"read noise": condition.reads_with_noise, "DAC": condition.dac, "ADC": condition.adc}
    return tuple(name for name, present in parts.items() if present)


def _parts_of(batches: Iterable[Batch], probes: int, images: int) -> Iterator[Batch]:
    """About `images` of the images at most, spread evenly over the batches, in equal parts for `probes` probes."""
    total = sum(len(labels) for _, labels in batches)
    used = min(images, total)
    size = max(1, used * PROBES // probes)
    for inputs, labels in batches:
        count = math.ceil(len(labels) * used / total)
        rows = torch.arange(count, device=labels.device) * len(labels) // count
        yield from ((inputs[part.to(inputs.device)], labels[part]) for part in rows.split(size))
