"""Tests of a fit where devices were programmed repeatedly: what stays with a device makes its cells dependent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aimc_robust.seeding import Axes

FEW = 0.05  # share of repeated cells below which all count as independent


def has_repetitions(device: np.ndarray) -> bool:
    """Whether devices (cells,) occur so often that their cells cannot count as independent."""
    return len(np.unique(device)) < (1.0 - FEW) * len(device)


def one_cell_per_device(device: np.ndarray) -> np.ndarray:
    """Indices of one cell of each device (cells,), drawn at random: these are independent."""
    order = np.random.default_rng(Axes(0).at(effect="one-cell").seed()).permutation(len(device))
    return np.sort(order[np.unique(device[order], return_index=True)[1]])


def draw_devices(rng: np.random.Generator, device: np.ndarray, most: int) -> np.ndarray:
    """Indices of all cells of randomly drawn devices (cells,), as many devices as have at most `most` cells."""
    names, number, count = np.unique(device, return_inverse=True, return_counts=True)
    order = rng.permutation(len(names))
    kept = order[: max(1, int(np.searchsorted(np.cumsum(count[order]), most, side="right")))]
    return np.flatnonzero(np.isin(number, kept))


def share_offsets(rng: np.random.Generator, z: np.ndarray, device: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Standard normal numbers (draws, cells); a share (cells,) of the variance is common to the cells of a device."""
    names, number = np.unique(device, return_inverse=True)
    offsets = rng.standard_normal((len(z), len(names)))[:, number]
    return np.asarray(np.sqrt(share) * offsets + np.sqrt(1.0 - share) * z)


def design_effect(rows: Sequence[np.ndarray], device: np.ndarray, share: float) -> float:
    """Factor on the variance of a bin's squared residuals, averaged over bins (Rao and Scott's first-order correction).

    Two cells of a device are correlated by `share`, their squares by its square. `rows` are the cells of each bin.
    """
    counts = [np.unique(device[index], return_counts=True)[1] for index in rows]
    return float(np.mean([1.0 + share**2 * np.sum(c * (c - 1)) / np.sum(c) for c in counts]))
