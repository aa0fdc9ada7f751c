"""Find cells that stay at an end of the window."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from aimc_robust.fitting.points import Points

OUTLIER_STDS = 6.0  # robust standard deviations beyond which a cell is an outlier
MIN_STUCK_CELLS = 3


class StuckCells(NamedTuple):
    """Masks (points,) of cells that stay at the low and the high end of the window.

    `fractions` (low, high) are estimates for all cells; `outliers` is the number of outliers elsewhere.
    """

    low: np.ndarray
    high: np.ndarray
    fractions: tuple[float, float]
    outliers: int


def find_stuck_cells(first: Points) -> StuckCells:
    """Find the cells at an end of the window that lie more than 6 robust standard deviations off their target.

    The scale is 1.4826 times the median |deviation| of the nearest targets at the earliest time. At least 3 cells at an
    end count as stuck. Their fraction is that among the cells whose target is far enough from that end to show it.
    """
    scale = _robust_std(first)
    outlying = np.abs(first.state - first.target) > OUTLIER_STDS * scale
    ends, masks, fractions = (first.target.min(), first.target.max()), [], []
    for end in ends:
        scale_at_end = scale[np.argmin(np.abs(first.target - end))]
        visible = np.abs(first.target - end) > OUTLIER_STDS * (scale + scale_at_end)
        tolerance = 3.0 * max(scale_at_end, 1e-3 * (ends[1] - ends[0]))
        mask = outlying & visible & (np.abs(first.state - end) <= tolerance)
        if mask.sum() < MIN_STUCK_CELLS:
            mask = np.zeros_like(mask)
        masks.append(mask)
        fractions.append(float(mask.sum() / max(visible.sum(), 1)))
    outliers = int((outlying & ~masks[0] & ~masks[1]).sum())
    return StuckCells(masks[0], masks[1], (fractions[0], fractions[1]), outliers)


def _robust_std(points: Points) -> np.ndarray:
    """A rough standard deviation at each point, robust to outliers: interpolated medians of bins."""
    order = np.argsort(points.target, kind="stable")
    bins = np.array_split(order, max(2, min(12, len(points) // 15)))
    size = 1.4826 * np.abs(points.state - points.target)
    center = np.array([points.target[rows].mean() for rows in bins])
    width = np.array([np.median(size[rows]) for rows in bins])
    least = max(float(np.median(width)), 1e-3 * float(np.ptp(points.target))) * 0.2
    return np.interp(points.target, center, np.maximum(width, least))
