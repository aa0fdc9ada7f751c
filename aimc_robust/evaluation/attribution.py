"""Error attribution: which error source and which layer costs how much."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import NoneType

import numpy as np
import pandas as pd
from torch import nn

from aimc_robust.data.batches import Batches
from aimc_robust.errors import InputError, require_type, require_whole
from aimc_robust.evaluation.error_sources import active_sources, is_random, with_sources
from aimc_robust.evaluation.monte_carlo import MAX_CHIPS, ChipEvaluation, chip_evaluation
from aimc_robust.float32_convolutions import float32_convolutions
from aimc_robust.hardware.config.deployment import Deployment
from aimc_robust.hardware.config.placement import Hardware, Layers, stored_weights
from aimc_robust.parallel.process_pool import check_jobs, ordered_map
from aimc_robust.statistics.primary_metric import PrimaryMetric
from aimc_robust.statistics.t_interval import t_interval
from aimc_robust.tasks.registry import TaskLike


@dataclass(frozen=True)
class Attribution:
    """What each error source and each layer costs: how much worse the task's primary metric gets.

    Attributes:
        metric: The primary metric; costs of an accuracy are percentage points.
        ideal: Its value with every source off.
        crossbar: Its mean with all sources on.
        chips: Number of chips of each variant.
        table: One row per source and per layer, sorted by decreasing `cost_alone` within each kind, with `kind`
            (`source` or `layer`), `name`, and `weights` (number of weights of a layer). `alone`: mean with only this
            one. `cost_alone`: how much worse that is than ideal, with its 95 % interval over chips. `without`: mean
            with all but this one. `saved`: how much better that is than with all, on the same chips, with its
            interval. The two costs differ if errors add up or mask each other. An interval is NaN if nothing random is
            left, or for one chip.
    """

    metric: PrimaryMetric
    ideal: float
    crossbar: float
    chips: int
    table: pd.DataFrame


@float32_convolutions()
def attribute(
    model: nn.Module,
    batches: Batches,
    crossbar: Hardware,
    *,
    layers: Layers | None = None,
    chips: int = 10,
    chip_seed: int = 0,
    time_s: float = 0.0,
    deployment: Deployment | None = None,
    jobs: int | None = None,
    per_layer: bool = True,
    task: TaskLike = None,
    on_chip: Callable[[int, int], None] | None = None,
) -> Attribution:
    """Attribute a model's loss of accuracy on a crossbar to error sources and layers.

    A source alone: all other sources are off. A layer alone: it is programmed with all sources, the other layers
    compute exactly. Without clipping the largest weight is at the end of the window, so that the other errors grow
    relative to it: `saved` may be negative for clipping.

    Costs 2 (sources + layers) + 1 evaluations of `chips` chips.

    Args:
        model: The trained model; not modified.
        batches: Labelled data: (inputs, labels) batches such as a list or a DataLoader, one such pair, or `Images`.
        crossbar: The crossbar, or a `Placement` on several; sources are switched on and off on all of them.
        layers: Layers that are not on the crossbar, see `evaluate`; a digital layer costs nothing and has no row.
        chips: Number of chips, the same for every variant.
        chip_seed: Root seed of all chips.
        time_s: Seconds since programming.
        deployment: Converter ranges and compensation; the backend must be native.
        jobs: As for `evaluate`.
        per_layer: Whether to attribute to layers too.
        task: As for `evaluate`; costs are differences of its primary metric, positive where it gets worse.
        on_chip: Called with (finished, total) numbers of chips after each chip.

    Raises:
        InputError: if an argument is invalid, or no error source acts on the crossbar.
        DataError: if there are no images, or labels do not match the outputs.
    """
    require_whole("chips", chips, low=1, high=MAX_CHIPS)
    require_type("deployment", deployment, (Deployment, NoneType), example="a Deployment or None")
    if not isinstance(crossbar, Hardware) or (deployment is not None and deployment.backend != "native"):
        raise InputError("attribution switches the errors of a Crossbar on the native backend on and off; give one.")
    base = chip_evaluation(
        model,
        batches,
        crossbar,
        layers=layers,
        chip_seed=chip_seed,
        time_s=time_s,
        deployment=deployment,
        task=task,
    )
    check_jobs(base.model, jobs)
    hardware = base.condition
    assert isinstance(hardware, Hardware)
    sources = active_sources(hardware, time_s=time_s)
    if not sources:
        raise InputError("no error source acts on this crossbar; there is no loss to attribute.")
    stored = stored_weights(base.model, hardware).values() if per_layer else ()
    weights = {weight.array_owner: weight for weight in stored}
    variants = [replace(base, condition=with_sources(hardware, ())), base]
    for source in sources:
        variants += [replace(base, condition=with_sources(hardware, [source]))]
        variants += [replace(base, condition=with_sources(hardware, [other for other in sources if other != source]))]
    names = frozenset(weights)
    for name in weights:
        variants += [replace(base, programmed=frozenset([name])), replace(base, programmed=names - {name})]
    metric = base.task.primary
    ideal, whole, *values = _values(variants, chips, jobs, on_chip)
    labels: list[tuple[str, str, int | None]] = [("source", source, None) for source in sources]
    labels += [("layer", name, weight.parameter.numel()) for name, weight in weights.items()]
    rows = [
        {"kind": kind, "name": name, "weights": count} | _costs(metric, float(ideal[0]), whole, alone, without)
        for (kind, name, count), alone, without in zip(labels, values[0::2], values[1::2], strict=True)
    ]
    table = pd.DataFrame(rows).astype({"weights": "Int64"})
    table = table.sort_values(["kind", "cost_alone"], ascending=[False, False], kind="stable").reset_index(drop=True)
    return Attribution(metric, float(ideal[0]), float(whole.mean()), chips, table)


def _value(variants: Sequence[ChipEvaluation], item: tuple[int, int]) -> float:
    """Measure any chip of any variant, so that one pool of processes serves all of them."""
    variant, chip = item
    return variants[variant](chip).value


def _is_random(variant: ChipEvaluation) -> bool:
    """Whether the metric differs from chip to chip."""
    hardware = variant.condition
    assert isinstance(hardware, Hardware)
    in_use = hardware.crossbars
    if variant.programmed is not None:
        in_use = tuple(own for name in variant.programmed if (own := hardware.crossbar_of(name)) is not None)
    return any(is_random(crossbar, time_s=variant.time_s) for crossbar in in_use)


def _values(
    variants: Sequence[ChipEvaluation], chips: int, jobs: int | None, on_chip: Callable[[int, int], None] | None
) -> list[np.ndarray]:
    """Return the primary metric of each variant's chips; of a single chip if nothing is random."""
    counts = [chips if _is_random(variant) else 1 for variant in variants]
    items = [(number, chip) for number, count in enumerate(counts) for chip in range(count)]
    found: list[list[float]] = [[] for _ in variants]
    results = ordered_map(partial(_value, variants), items, jobs=jobs)
    for finished, ((number, _), value) in enumerate(zip(items, results, strict=True), start=1):
        found[number].append(value)
        if on_chip is not None:
            on_chip(finished, len(items))
    return [np.array(values) for values in found]


def _costs(
    metric: PrimaryMetric, ideal: float, whole: np.ndarray, alone: np.ndarray, without: np.ndarray
) -> dict[str, float]:
    cost, saved = metric.loss_of(ideal, alone), metric.loss_of(without, whole)
    low, high = t_interval(cost)
    saved_low, saved_high = t_interval(saved)
    return {
        "alone": float(alone.mean()),
        "cost_alone": float(cost.mean()),
        "cost_alone_low": low,
        "cost_alone_high": high,
        "without": float(without.mean()),
        "saved": float(saved.mean()),
        "saved_low": saved_low,
        "saved_high": saved_high,
    }
