"""How much of the programming error stays with a device, from devices that were programmed repeatedly."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats

from aimc_robust.devices.card import Card
from aimc_robust.fitting.points import Points
from aimc_robust.fitting.read_noise import ReadNoise, read_variance
from aimc_robust.fitting.residuals import standardized_residuals
from aimc_robust.fitting.std_laws import std_at

MIN_DEVICES = 10  # that were programmed at least twice
MAX_TARGETS, CELLS_PER_TARGET, BINS = 64, 10, 10
ROUNDS = 10_000


class DeviceShare(NamedTuple):
    """Share of the variance of the programming error that stays with a device, with its 95 % interval.

    p is that of a share as large if nothing stays. `devices` were programmed at least twice, `programmings` times
    altogether.
    """

    share: float
    low: float
    high: float
    p: float
    devices: int
    programmings: int

    @property
    def settled(self) -> float:
        """The share for a card: 0 unless its interval excludes 0."""
        return self.share if self.low > 0 else 0.0


def fit_device_share(card: Card, first: Points, read_noise: ReadNoise | None) -> DeviceShare | None:
    """Estimate the share by an analysis of variance of the errors at the earliest time; None without repetitions.

    Cells of one device with several targets are repetitions too.

    Errors are in units of the card's standard deviation at their target. Their mean at each target, or in bins of
    targets, belongs to the target and is removed: devices of one target would share it. Variance components of devices
    and cycles by Henderson's method III, interval of the intraclass correlation by F (Searle, Linear Models, 1971,
    Sec. 9.8 and 10.4; exact for normal errors and equal numbers of cycles). The variance of reading is subtracted from
    that of the cycles. States of 0 are left out.
    """
    std = std_at(card.programming, first.target)
    used = (first.state > 0) & (std > 0)
    _, device, counts = np.unique(first.device[used], return_inverse=True, return_counts=True)
    used[used] = counts[device] > 1
    part, std = first.only(used), std[used]
    _, device = np.unique(part.device, return_inverse=True)
    devices = int(device.max(initial=-1)) + 1
    if devices < MIN_DEVICES:
        return None
    reading = read_variance(part, read_noise) / std**2
    scores = standardized_residuals(card, part, read_noise, 0.0) * np.sqrt(1.0 + reading)
    estimate = _intraclass(scores, device, _target_groups(part.target), float(reading.mean()))
    return None if estimate is None else DeviceShare(*estimate, devices, len(part))


def _intraclass(
    values: np.ndarray, device: np.ndarray, target: np.ndarray, reading: float
) -> tuple[float, float, float, float] | None:
    """(share, low, high, p) of values with groups of devices and of targets; None if these cannot be separated."""
    pairs, count = np.unique(np.column_stack([target, device]), axis=0, return_counts=True)
    per_target = np.bincount(target)
    weight = len(values) - float(np.sum(count**2 / per_target[pairs[:, 0]]))  # of the devices' variance in SS_B
    between = int(device.max()) + 1 - _components(pairs)
    within = len(values) - len(per_target) - between
    if between < 1 or within < 1:
        return None
    centered = _centered(values, target)
    residual = centered
    for _ in range(ROUNDS):  # alternating projections: the residual of devices and targets together
        last = residual
        residual = _centered(_centered(last, device), target)
        if np.abs(residual - last).max() < 1e-10:
            break
    within_square = float(np.sum(residual**2)) / within
    between_square = (float(np.sum(centered**2)) - within * within_square) / between
    per_device = weight / between
    ratio = between_square / within_square
    total = within_square + (between_square - within_square) / per_device
    if total <= reading:
        return None
    scale = total / (total - reading)
    ends = (ratio, ratio / stats.f.ppf(0.975, between, within), ratio / stats.f.ppf(0.025, between, within))
    share, low, high = (float(np.clip((f - 1) / (f - 1 + per_device) * scale, 0.0, 1.0)) for f in ends)
    return share, low, high, float(stats.f.sf(ratio, between, within))


def _target_groups(target: np.ndarray) -> np.ndarray:
    """Number of each cell's target, or of its bin of targets where there are many."""
    distinct, group = np.unique(target, return_inverse=True)
    if len(distinct) <= min(MAX_TARGETS, len(target) / CELLS_PER_TARGET):
        return group
    edges = np.quantile(target, np.linspace(0.0, 1.0, min(BINS, max(2, len(target) // 20)) + 1)[1:-1])
    return np.unique(np.searchsorted(edges, target), return_inverse=True)[1]


def _centered(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    return values - (np.bincount(group, weights=values) / np.bincount(group))[group]


def _components(pairs: np.ndarray) -> int:
    """Number of sets of targets and devices that no cell connects."""
    root = list(range(int(pairs[:, 0].max()) + 1 + int(pairs[:, 1].max()) + 1))

    def find(node: int) -> int:
        while root[node] != node:
            root[node] = root[root[node]]
            node = root[node]
        return node

    offset = int(pairs[:, 0].max()) + 1
    for target, device in pairs:
        root[find(int(target))] = find(offset + int(device))
    return sum(find(node) == node for node in range(len(root)))
