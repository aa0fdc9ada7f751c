"""Rank the layers of a model by what their errors on a device cost, each for its share of weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from torch import Tensor, nn

from aimc_robust.errors import InputError, require_known, require_whole
from aimc_robust.evaluation.loss_prediction import loss_at, predict_loss
from aimc_robust.evaluation.monte_carlo import ChipEvaluation
from aimc_robust.hardware.config.placement import Hardware, stored_weights
from aimc_robust.hardware.conversion.mac_count import count_macs
from aimc_robust.hardware.programming.moments import model_moments
from aimc_robust.noise.analog_weights import AnalogWeight
from aimc_robust.parallel.process_pool import ordered_map
from aimc_robust.statistics.t_interval import t_interval

Ranking = Literal["auto", "predicted", "measured"]
Size = Literal["weights", "multiplies"]
RANKING_CHIPS = 10  # per layer; other chips confirm what follows from the ranking
SHIFT = 1e-3  # share of a layer's mean square error from which its systematic part is measured


def rank_layers(
    model: nn.Module,
    base: ChipEvaluation,
    *,
    by: Ranking = "auto",
    size: Size = "weights",
    chips: int = RANKING_CHIPS,
    jobs: int | None = None,
    first_chip: int = 0,
) -> pd.DataFrame:
    """Rank layers by the loss that their errors cost, each alone, per weight or per multiply.

    `predicted`: the layer's part of the rise due to random errors (`predict_loss`), with the loss at the layer's mean
    weights if these differ from the trained ones. `measured`: on `chips` chips, which contains read noise and
    converters. `auto`: predicted, unless the crossbar has read noise or converters, a compensation acts, or the task
    has no loss.

    Args:
        model: The trained model.
        base: How it is evaluated on a crossbar.
        by: Where the cost of a layer comes from.
        size: What the cost is divided by.
        chips: Number of chips for each layer of measured costs; at least 2.
        jobs: Number of processes for measured costs.
        first_chip: Number of the first chip that costs are measured on.

    Returns:
        One row per layer, the first to keep digital first: `layer`, its `weights` and `multiplies` per example, and its
        `cost`, an increase of the loss, or of the primary metric for a task without a loss. `cost_low`, `cost_high`:
        its 95 % interval over chips; NaN for a predicted cost.
    """
    require_known("ranking", by, get_args(Ranking))
    require_known("size of a layer", size, get_args(Size))
    require_whole("ranking chips", chips, low=2)
    crossbar = base.condition
    assert isinstance(crossbar, Hardware)
    weights = {weight.array_owner: weight for weight in stored_weights(base.model, crossbar).values()}
    has_loss = base.task.measure(base.model, base.batches).loss is not None
    if by == "auto":
        is_predictable = has_loss and not crossbar.computes_in_arrays and not base.deployment.compensation
        by = "predicted" if is_predictable else "measured"
    elif by == "predicted" and not has_loss:
        raise InputError("this task has no loss to predict; rank layers by='measured'.")
    if by == "measured":
        costs = _measured(base, weights, range(first_chip, first_chip + chips), jobs)
    else:
        costs = {name: np.array([cost]) for name, cost in _predicted(model, base, crossbar, weights).items()}
    multiplies = _multiplies(base, weights)
    rows = []
    for name, weight in weights.items():
        low, high = t_interval(costs[name])
        row = {"layer": name, "weights": weight.parameter.numel(), "multiplies": multiplies[name]}
        rows.append(row | {"cost": float(costs[name].mean()), "cost_low": low, "cost_high": high})
    table = pd.DataFrame(rows)
    per_size = table["cost"] / table[size].clip(lower=1)
    return table.loc[per_size.sort_values(ascending=False, kind="stable").index].reset_index(drop=True)


def _measured(
    base: ChipEvaluation, weights: Iterable[str], chips: Sequence[int], jobs: int | None
) -> dict[str, np.ndarray]:
    """Layer -> what its errors alone cost on each chip."""
    ideal = replace(base, programmed=frozenset())(0)
    names = list(weights)
    found = list(ordered_map(_Alone(base), [(name, chip) for name in names for chip in chips], jobs=jobs))
    losses, values = np.moveaxis(np.array(found).reshape(len(names), len(chips), 2), 2, 0)
    costs = base.task.primary.loss_of(ideal.value, values) if ideal.loss is None else losses - ideal.loss
    return dict(zip(names, costs, strict=True))


class _Alone:
    """Measures one layer alone on a chip; a class, as processes take no nested functions."""

    def __init__(self, base: ChipEvaluation) -> None:
        self.base = base

    def __call__(self, item: tuple[str, int]) -> tuple[float, float]:
        name, chip = item
        measured = replace(self.base, programmed=frozenset([name]))(chip)
        return np.nan if measured.loss is None else measured.loss, measured.value


def _predicted(
    model: nn.Module, base: ChipEvaluation, crossbar: Hardware, weights: dict[str, AnalogWeight]
) -> dict[str, float]:
    """Layer -> predicted cost of its random errors, and measured cost of its systematic ones."""
    options: dict[str, Any] = {"time_s": base.time_s, "chip_seed": base.chip_seed, "task": base.task}
    prediction = predict_loss(model, base.batches, {"device": crossbar}, deployment=base.deployment, **options)
    costs = dict.fromkeys(weights, 0.0)
    for row in prediction.layers.to_dict("records"):
        costs[_owner(row["layer"], weights)] += row["curvature"]
    clean = float(prediction.table["clean_loss"].iloc[0])
    for name, means in _shifted(base, crossbar, weights).items():
        costs[name] += loss_at(base.model, means, base.batches, base.task) - clean
    return costs


def _owner(name: str, weights: Iterable[str]) -> str:
    """Return the layer of a weight, or of a bias that is stored in rows beside it."""
    known, module = list(weights), name.rpartition(".")[0]
    likely = (name, name.removesuffix(".bias"), name.replace("bias", "weight"))
    beside = [owner for owner in known if owner.rpartition(".")[0] == module]  # attention: a bias for three matrices
    return next(owner for owner in (*likely, *beside) if owner in known)


def _shifted(
    base: ChipEvaluation, crossbar: Hardware, weights: dict[str, AnalogWeight]
) -> dict[str, dict[str, Tensor]]:
    """Layer -> mean weights by parameter name, where these are not the trained ones."""
    moments = model_moments(base.model, crossbar, time_s=base.time_s, chip_seed=base.chip_seed)
    parameters = dict(base.model.named_parameters())
    shifted: dict[str, dict[str, Tensor]] = {}
    for name, moment in moments.items():
        square = float((moment.mean - parameters[name].detach()).square().sum())
        if square > SHIFT * (square + float(moment.variance.sum())):
            owner = _owner(name.removesuffix(".weight"), weights)
            shifted.setdefault(owner, {})[name] = moment.mean
    return shifted


def _multiplies(base: ChipEvaluation, weights: dict[str, AnalogWeight]) -> dict[str, int]:
    """Layer -> its multiplies for one example."""
    reads = count_macs(base.model, base.task.example(base.batches)).reads
    multiplies = {}
    for name, weight in weights.items():
        outputs = len(weight.filters_first()) // int(getattr(weight.module, "groups", 1))  # per group
        multiplies[name] = reads[weight.name].inputs * outputs
    return multiplies
