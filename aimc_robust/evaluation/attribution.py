"""Which error source and which layer costs how much accuracy: each alone, and all but each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from aimc_robust.errors import InputError, require_whole
from aimc_robust.evaluation.error_sources import RANDOM, active_sources, with_sources
from aimc_robust.evaluation.monte_carlo import ChipWork, Deployment, check_jobs, chip_work
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.metrics import Batch
from aimc_robust.noise.analog_weights import analog_weights
from aimc_robust.parallel.process_pool import ordered_map
from aimc_robust.statistics.t_interval import t_interval


@dataclass(frozen=True)
class Attribution:
    """What each source and layer costs, in points of accuracy.

    exact: accuracy with every source off [percent]. whole: mean accuracy with all of them [percent].
    table: a row per source and per layer, the dearest first within each kind, with
        kind (`source` or `layer`), name, weights (of a layer);
        alone: mean accuracy with this one alone; cost_alone = exact - alone, with its 95 % interval over chips;
        without: mean accuracy with all but this one; saved = without - whole on the same chips, with its interval.
        The two differ where errors add up or hide each other. No interval: nothing random was left, or one chip.
    """

    exact: float
    whole: float
    chips: int
    table: pd.DataFrame


def attribute(
    model: nn.Module,
    batches: Iterable[Batch],
    crossbar: Crossbar,
    *,
    chips: int = 10,
    seed: int = 0,
    time_s: float = 0.0,
    deployment: Deployment | None = None,
    jobs: int | None = None,
    layers: bool = True,
    on_chip: Callable[[int, int], None] | None = None,
) -> Attribution:
    """Attribute a model's loss of accuracy on a crossbar to error sources and layers.

    A source alone: all others are off. A layer alone: it is programmed with all sources, the others compute exactly.
    Without clipping the largest weight stands at the end of the window, so that the other errors grow with it: what
    clipping saves may well be negative.
    crossbar: with converter ranges where it needs them (`calibrate`). chips: the same for every variant.
    jobs: as for `evaluate`. layers: whether to go through the layers too. on_chip: told (done, of how many) chips.
    Costs 2 (sources + layers) + 1 evaluations of `chips` chips. Raises InputError as `evaluate` does.
    """
    require_whole("chips", chips, low=1)
    if deployment is not None and time_s:
        raise InputError("the deployment has a time of its own; give time_s or deployment, not both.")
    how = deployment or Deployment(time_s=time_s)
    if not isinstance(crossbar, Crossbar) or how.backend != "native":
        raise InputError("attribution switches the errors of a Crossbar on the native backend on and off; give one.")
    work = chip_work(model, batches, crossbar, seed=seed, deployment=how)
    check_jobs(work.model, jobs)
    active = active_sources(crossbar, time_s=how.time_s)
    if not active:
        raise InputError(
            "this crossbar has no source of error that could cost accuracy; there is nothing to attribute."
        )
    weights = {weight.array: weight for weight in analog_weights(work.model).values()} if layers else {}
    variants = [_Variant(work, with_sources(crossbar, ())), _Variant(work, crossbar)]
    for source in active:
        variants += [_Variant(work, with_sources(crossbar, [source]))]
        variants += [_Variant(work, with_sources(crossbar, [s for s in active if s != source]))]
    names = frozenset(weights)
    for name in weights:
        variants += [_Variant(work, crossbar, frozenset([name])), _Variant(work, crossbar, names - {name})]
    accuracies = _measured(variants, chips, jobs, how, on_chip)
    exact, whole = float(accuracies[0][0]), accuracies[1]
    pairs = zip(accuracies[2::2], accuracies[3::2], strict=True)
    labels = [("source", source, None) for source in active]
    labels += [("layer", name, weight.parameter.numel()) for name, weight in weights.items()]
    rows = [
        {"kind": kind, "name": name, "weights": count} | _costs(exact, whole, alone, without)
        for (kind, name, count), (alone, without) in zip(labels, pairs, strict=True)
    ]
    table = pd.DataFrame(rows).astype({"weights": "Int64"})
    dearest = table.sort_values(["kind", "cost_alone"], ascending=[False, False], kind="stable")
    return Attribution(exact, float(whole.mean()), chips, dearest.reset_index(drop=True))


@dataclass(frozen=True)
class _Variant:
    """One set of sources and layers."""

    base: ChipWork
    crossbar: Crossbar
    layers: frozenset[str] | None = None

    def work(self) -> ChipWork:
        return replace(self.base, condition=self.crossbar, layers=self.layers)

    def is_random(self, time_s: float) -> bool:
        acts = any(source in RANDOM for source in active_sources(self.crossbar, time_s=time_s))
        return acts and (self.layers is None or bool(self.layers))


@dataclass(frozen=True)
class _Works:
    """The work of any chip of any variant: one pool of processes for all of them."""

    works: Sequence[ChipWork]

    def __call__(self, item: tuple[int, int]) -> float:
        variant, chip = item
        return self.works[variant](chip).accuracy


def _measured(
    variants: Sequence[_Variant],
    chips: int,
    jobs: int | None,
    how: Deployment,
    on_chip: Callable[[int, int], Any] | None,
) -> list[np.ndarray]:
    """Accuracies [percent] of each variant's chips; of a single one where nothing is random."""
    counts = [chips if variant.is_random(how.time_s) else 1 for variant in variants]
    items = [(number, chip) for number, count in enumerate(counts) for chip in range(count)]
    found: list[list[float]] = [[] for _ in variants]
    works = _Works([variant.work() for variant in variants])
    for done, (item, accuracy) in enumerate(zip(items, ordered_map(works, items, jobs=jobs), strict=True), start=1):
        found[item[0]].append(accuracy)
        if on_chip is not None:
            on_chip(done, len(items))
    return [np.array(values) for values in found]


def _costs(exact: float, whole: np.ndarray, alone: np.ndarray, without: np.ndarray) -> dict[str, float]:
    cost, saved = exact - alone, without - whole
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
