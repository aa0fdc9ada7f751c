"""Worst-device accuracy of a method with its interval, and which methods differ in it.

The quantity is min over devices d of mu_d, where mu_d is the mean accuracy over newly trained models and new chips. It
is estimated by the lowest of the devices' means, which lies below it on average, as the lowest of uncertain means.

Interval: the lower end is the lowest of the devices' own lower 97.5 % bounds. It needs no correction for the choice of
the device: it is above the minimum only if the bound of the device that truly is the worst is. The upper end is the
lowest of the devices' upper bounds at level 0.025 / D, which all D hold together with 97.5 %. So both ends hold with
95 %, however the devices' errors depend on each other.

Differences: method A is better than B if, for one device e of B, A is better on every device than B on e, with
differences paired by model and chip. The p value for one e is the largest over A's devices (an intersection-union
test), and over e it is the smallest, times D. Holm's method corrects the two-sided p values of all pairs of methods
together.

References:
    R. L. Berger, Technometrics 24, 295 (1982): intersection-union tests.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from aimc_robust.statistics.estimate import Estimate
from aimc_robust.statistics.multiple_testing import holm
from aimc_robust.statistics.paired_difference import paired_difference
from aimc_robust.statistics.t_interval import LEVEL

Devices = Mapping[str, Estimate]
"""Device -> estimate of the accuracy of one method."""


@dataclass(frozen=True)
class WorstDevice:
    """The lowest of the devices' mean accuracies [percent], its 95 % interval, and the device's name."""

    device: str
    mean: float
    ci: tuple[float, float]


def worst_device(devices: Devices) -> WorstDevice:
    """Estimate the accuracy on the worst device; the interval allows for the choice of that device."""
    errors = {name: estimate.effects.mean_error() for name, estimate in devices.items()}
    name = min(devices, key=lambda name: devices[name].mean)
    low = min(estimate.mean - errors[name].half_width() for name, estimate in devices.items())
    high = min(estimate.mean + errors[name].half_width(LEVEL / len(devices)) for name, estimate in devices.items())
    low, high = np.clip([low, high], *devices[name].metric.bounds)
    return WorstDevice(name, devices[name].mean, (float(low), float(high)))


def mean_of_devices(devices: Devices) -> Estimate:
    """Return the estimate of the mean over devices, of each model and chip number."""
    first = next(iter(devices.values()))
    tables = [estimate.table.set_index(["train_seed", "chip"])[first.metric.name] for estimate in devices.values()]
    mean = sum(tables[1:], tables[0]) / len(tables)
    return Estimate(mean.reset_index(), metric=first.metric)


def p_better(first: Devices, second: Devices) -> float:
    """Return the one-sided p value of first's worst-device accuracy being no higher than second's."""
    largest = [max(_p_above(one, other) for one in first.values()) for other in second.values()]
    return min(1.0, len(second) * min(largest))


def _p_above(first: Estimate, second: Estimate) -> float:
    """Return the one-sided p value of first's mean being no higher than second's; 1 if it cannot be tested."""
    difference = paired_difference(first, second)
    if math.isnan(difference.p_value):
        return 1.0
    return difference.p_value / 2.0 if difference.mean > 0.0 else 1.0 - difference.p_value / 2.0


def settled_order(methods: Sequence[Devices]) -> np.ndarray:
    """Return whether method i is settled to be better than method j, shape (methods, methods)."""
    pairs = list(itertools.combinations(range(len(methods)), 2))
    one_sided = [(p_better(methods[i], methods[j]), p_better(methods[j], methods[i])) for i, j in pairs]
    corrected = holm([min(1.0, 2.0 * min(both)) for both in one_sided])
    better = np.zeros((len(methods), len(methods)), dtype=bool)
    for (i, j), (forward, backward), p in zip(pairs, one_sided, corrected, strict=True):
        if p < LEVEL:
            better[(i, j) if forward < backward else (j, i)] = True
    return better


def places(better: np.ndarray) -> list[tuple[int, int]]:
    """Return the best and the worst place that each method can have, given what is settled."""
    return [(1 + int(better[:, i].sum()), len(better) - int(better[i].sum())) for i in range(len(better))]
