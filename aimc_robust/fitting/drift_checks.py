"""Checks of the random numbers of drift."""

from __future__ import annotations

import itertools

import numpy as np

from aimc_robust.fitting.checks import EXACT_TOLERANCE, Check, correlation_checks, equality_check, uniformity_check
from aimc_robust.fitting.reference_drift import RandomDriftReference
from aimc_robust.fitting.reference_implementation import Reference
from aimc_robust.fitting.simulated_cells import SimulatedCells


def drift_checks(cells: SimulatedCells, references: list[list[Reference]], scores: np.ndarray) -> list[Check]:
    """Check that each cell drifts by one draw: the same at all times, distributed as the card says.

    A draw of the drift's own must also be independent of the programming error.

    Args:
        cells: The simulated cells.
        references: The reference of each time and target.
        scores: Normal scores of the states, from `state_checks`.
    """
    aged = [i for i in range(len(cells.times_s)) if references[i][0].drift is not None]
    if not aged:
        return []
    is_random = isinstance(references[aged[0]][0].drift, RandomDriftReference)
    drawn = np.full(cells.states.shape, np.nan)
    for i in aged:
        for j, reference in enumerate(references[i]):
            programmed, now = cells.states[0, ..., j], cells.states[i, ..., j]
            drawn[i, ..., j] = reference.drawn(programmed.ravel(), now.ravel()).reshape(now.shape)
    if is_random:
        return [*_trajectory_checks(cells, drawn, aged), *_random_drift_checks(cells, references, drawn, scores)]
    for j, reference in enumerate(references[0]):  # a table's draw is that of programming
        if reference.error > 0:
            drawn[0, ..., j] = reference.programming_drawn(cells.states[0, ..., j])
    return _trajectory_checks(cells, drawn, [0, *aged])


def _trajectory_checks(cells: SimulatedCells, drawn: np.ndarray, times: list[int]) -> list[Check]:
    """Each cell's draw is the same at all times."""
    size = float(np.nanstd(drawn)) or 1.0
    checks = []
    for a, b in itertools.pairwise(times):
        difference = np.abs(drawn[a] - drawn[b])
        if np.isfinite(difference).any():
            name = "the cells' drift draw, against an earlier time (largest difference)"
            largest = float(np.nanmax(difference))
            checks.append(equality_check(name, None, cells.times_s[b], 0.0, largest, size * 10.0))
    return checks


def _random_drift_checks(
    cells: SimulatedCells, references: list[list[Reference]], drawn: np.ndarray, scores: np.ndarray
) -> list[Check]:
    """Distribution of the draws at the last time, and their independence of the programming error."""
    last = len(cells.times_s) - 1
    checks = []
    for j, target in enumerate(cells.targets.tolist()):
        value = drawn[last, ..., j].ravel()
        value = value[np.isfinite(value)]
        # If clipping hides some draws the others are no fair sample; the distribution of the state is checked instead.
        if len(value) < drawn[last, ..., j].size or np.ptp(value) < EXACT_TOLERANCE:
            continue
        drift = references[last][j].drift
        assert isinstance(drift, RandomDriftReference), "a card's drift is of one kind"
        checks.append(
            uniformity_check("the drift draw (distance)", target, cells.times_s[last], drift.drawn_cdf(value))
        )
    centered = drawn[last] - np.nanmean(drawn[last], axis=(0, 1))
    complete = np.isfinite(drawn[last]).all(axis=(0, 1))
    checks += correlation_checks(
        "the correlation of drift and programming error", centered[..., complete], scores[0][..., complete]
    )
    return checks
