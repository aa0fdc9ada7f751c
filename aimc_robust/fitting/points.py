"""Measurements gathered into points: the reads of one cell at one time are one point, with a mean and a variance."""

from dataclasses import dataclass, replace

import numpy as np

from aimc_robust.fitting.measurements import Measurements

SAME_TIME = 1.05  # times within 5 % of each other are one


@dataclass(frozen=True, kw_only=True)
class Points:
    """One point for each cell and time, each array (points,).

    target, state: target, and mean of the reads [unit]. reads: how many there are. variance: within them, of one read,
    with reads - 1 degrees of freedom [unit^2]; 0 for a single read. cell: which cell; group: which of `times_s`.
    """

    target: np.ndarray
    state: np.ndarray
    reads: np.ndarray
    variance: np.ndarray
    cell: np.ndarray
    group: np.ndarray
    times_s: np.ndarray

    def __len__(self) -> int:
        return len(self.target)

    def only(self, kept: np.ndarray) -> "Points":
        """The points of a mask."""
        arrays = ("target", "state", "reads", "variance", "cell", "group")
        return replace(self, **{name: getattr(self, name)[kept] for name in arrays})

    def at(self, group: int) -> "Points":
        """The points of one time."""
        return self.only(self.group == group)


def gather(found: Measurements) -> Points:
    """Points of the measurements. Rows of one device and target are one cell; without devices each row is its own."""
    group, times_s = time_groups(found.time_s)
    if found.device is None:
        count = len(found.target)
        return Points(
            target=found.target,
            state=found.measured,
            reads=np.ones(count, dtype=int),
            variance=np.zeros(count),
            cell=np.arange(count),
            group=group,
            times_s=times_s,
        )
    cells, cell = np.unique(np.column_stack([found.device, found.target]), axis=0, return_inverse=True)
    keys, index, reads = np.unique(
        np.column_stack([cell.ravel(), group]), axis=0, return_inverse=True, return_counts=True
    )
    index = index.ravel()
    state = np.bincount(index, weights=found.measured) / reads
    squares = np.bincount(index, weights=(found.measured - state[index]) ** 2)
    return Points(
        target=cells[keys[:, 0], 1],
        state=state,
        reads=reads,
        variance=squares / np.maximum(reads - 1, 1),
        cell=keys[:, 0],
        group=keys[:, 1],
        times_s=times_s,
    )


def time_groups(time_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(group of each row, time of each group [s]): times within 5 % are one group, at their median."""
    distinct, index = np.unique(time_s, return_inverse=True)
    starts = np.zeros(len(distinct), dtype=int)
    first = distinct[0]
    for i in range(1, len(distinct)):
        new = distinct[i] > first * SAME_TIME
        starts[i] = starts[i - 1] + new
        first = distinct[i] if new else first
    group = starts[index.ravel()]
    return group, np.array([np.median(time_s[group == g]) for g in range(starts[-1] + 1)])
