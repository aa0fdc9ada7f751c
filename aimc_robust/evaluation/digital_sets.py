"""Nested sets of layers that are kept digital: measured on chips, and the smallest that reaches a required value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from aimc_robust.evaluation.monte_carlo import ChipEvaluation
from aimc_robust.statistics.estimate import Estimate


class DigitalSets:
    """Measures the model with the first layers of a ranking digital."""

    def __init__(
        self,
        base: ChipEvaluation,
        order: Sequence[str],
        chips: int,
        jobs: int | None,
        on_set: Callable[[int, int], None] | None,
    ) -> None:
        self.base, self.order, self.chips, self.jobs, self.on_set = base, list(order), chips, jobs, on_set
        self.estimates: dict[int, Estimate] = {}

    def at(self, kept: int) -> Estimate:
        """Estimate of a set, measured at first use."""
        if kept not in self.estimates:
            self.estimates[kept] = self.measure(kept)
        return self.estimates[kept]

    def measure(self, kept: int, first: int = 0) -> Estimate:
        """Measure a set on `chips` chips from the chip `first` on."""
        if self.on_set is not None:
            self.on_set(kept, len(self.order))
        numbers = range(first, first + self.chips)
        evaluation = replace(self.base, programmed=frozenset(self.order[kept:]))
        if kept == len(self.order):  # the same on all chips
            results = [evaluation(first)] * self.chips
        else:
            results = list(evaluation.many(numbers, self.jobs))
        rows = [{"train_seed": 0, "chip": chip, **result.row()} for chip, result in zip(numbers, results, strict=True)]
        task = self.base.task
        return Estimate(pd.DataFrame(rows), metric=task.primary, others=(*Estimate.others, *task.others))


def first_sizes(sizes: np.ndarray, points: int) -> list[int]:
    """Numbers of layers to measure at first: none, all, and others, with their shares spread evenly on a log scale."""
    count = len(sizes)
    if count + 1 <= points:
        return list(range(count + 1))
    shares = np.cumsum(sizes) / sizes.sum()
    wanted = np.geomspace(1.0, max(shares[0], 1e-6), points - 1)
    return [0, *sorted({1 + int(np.abs(np.log(np.maximum(shares, 1e-9) / share)).argmin()) for share in wanted})]


def smallest_set(sets: DigitalSets, required: float, sizes: Sequence[int]) -> int:
    """Measure the sets of these sizes, and those between that decide; return the smallest that is good enough.

    The set of all layers reaches it, as the caller has checked.
    """
    count = len(sets.order)
    reached = [size for size in sizes if size == count or _reaches(sets.at(size), required)]
    high = min(reached)
    low = max((size for size in sizes if size < high), default=-1)
    while high - low > 1:
        middle = (low + high) // 2
        if _reaches(sets.at(middle), required):
            high = middle
        else:
            low = middle
    sets.at(count)
    return high


def _reaches(estimate: Estimate, required: float) -> bool:
    """Whether the whole interval is at least as good as required."""
    return not estimate.metric.is_better(required, interval_ends(estimate)[0])


def interval_ends(estimate: Estimate) -> tuple[float, float]:
    """(worst, best) end of an interval."""
    low, high = estimate.ci
    return (low, high) if estimate.metric.is_higher_better else (high, low)
