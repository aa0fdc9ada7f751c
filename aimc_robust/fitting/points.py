"""Measurements grouped into points: the reads of one cell at one time are one point with a mean and a variance."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from aimc_robust.fitting.measurements import Measurements

SAME_TIME = 1.05  # times within 5 % of each other are one


@dataclass(frozen=True, kw_only=True)
class Points:
    """One point for each cell and time.

    Attributes:
        target: Target state (points,) [unit].
        state: Mean of the reads (points,) [unit].
        reads: Number of reads (points,).
        variance: Variance of one read within the point (points,) [unit^2], with reads - 1 degrees of freedom; 0 for
            a single read.
        cell: Number of the cell (points,): a device that is programmed to a target, once.
        device: Number of the device (points,); without devices each point has its own.
        cycled: Whether cycles are known, so that devices may have been programmed several times.
        group: Index into `times_s` (points,).
        times_s: Times [s], rising.
    """

    target: np.ndarray
    state: np.ndarray
    reads: np.ndarray
    variance: np.ndarray
    cell: np.ndarray
    device: np.ndarray
    cycled: bool
    group: np.ndarray
    times_s: np.ndarray

    def __len__(self) -> int:
        return len(self.target)

    def only(self, mask: np.ndarray) -> Points:
        """The points of a mask (points,)."""
        arrays = ("target", "state", "reads", "variance", "cell", "device", "group")
        return replace(self, **{name: getattr(self, name)[mask] for name in arrays})

    def at(self, group: int) -> Points:
        """The points of one time, by its index in `times_s`."""
        return self.only(self.group == group)


def gather_points(measurements: Measurements) -> Points:
    """Group rows of one device, cycle and target into cells, and these into points. Without devices a row is a cell."""
    group, times_s = time_groups(measurements.time_s)
    row = np.arange(len(group))
    cells, cell = np.column_stack([row, measurements.target]), row
    if measurements.device is not None:
        cycle = np.zeros(len(group)) if measurements.cycle is None else measurements.cycle
        rows = np.column_stack([measurements.device, measurements.target, cycle])
        cells, cell = np.unique(rows, axis=0, return_inverse=True)
    keys, index, reads = np.unique(
        np.column_stack([cell.ravel(), group]), axis=0, return_inverse=True, return_counts=True
    )
    index = index.ravel()
    state = np.bincount(index, weights=measurements.measured) / reads
    squares = np.bincount(index, weights=(measurements.measured - state[index]) ** 2)
    return Points(
        target=cells[keys[:, 0], 1],
        state=state,
        reads=reads,
        variance=squares / np.maximum(reads - 1, 1),
        cell=keys[:, 0],
        device=cells[keys[:, 0], 0].astype(int),
        cycled=measurements.cycle is not None,
        group=keys[:, 1],
        times_s=times_s,
    )


def time_groups(time_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index of the group of each time (rows,) [s], and the median time of each group (groups,) [s].

    A group reaches from its first time to 5 % above it.
    """
    distinct, index = np.unique(time_s, return_inverse=True)
    starts = np.zeros(len(distinct), dtype=int)
    first = distinct[0]
    for i in range(1, len(distinct)):
        new = distinct[i] > first * SAME_TIME
        starts[i] = starts[i - 1] + new
        first = distinct[i] if new else first
    group = starts[index.ravel()]
    return group, np.array([np.median(time_s[group == g]) for g in range(starts[-1] + 1)])
