"""Checks of the states of simulated cells: their distribution, their independence, and stuck cells."""

from __future__ import annotations

import numpy as np
from scipy import stats
from scipy.special import ndtri

from aimc_robust.devices.card import Card
from aimc_robust.fitting.checks import (
    EXACT_TOLERANCE,
    Check,
    correlation_checks,
    equality_check,
    mean_check,
    uniformity_check,
)
from aimc_robust.fitting.reference_implementation import Reference
from aimc_robust.fitting.simulated_cells import SimulatedCells


def state_checks(
    cells: SimulatedCells, references: list[list[Reference]], rng: np.random.Generator
) -> tuple[np.ndarray, list[Check]]:
    """Check mean and standard deviation at each target and time, and the distribution at the first and last time.

    Args:
        cells: The simulated cells.
        references: The reference of each time and target.
        rng: For states that many cells share.

    Returns:
        Normal scores of all states (as `cells.states`, NaN where nothing is random), and the checks.
    """
    span, checks = float(np.ptp(cells.targets)), []
    scores = np.full(cells.states.shape, np.nan)
    last = len(cells.times_s) - 1
    for i, time_s in enumerate(cells.times_s):
        for j, target in enumerate(cells.targets.tolist()):
            state, reference = cells.states[i, ..., j].ravel(), references[i][j]
            mean, variance, _ = reference.moments
            if variance <= (EXACT_TOLERANCE * span) ** 2:
                farthest = float(state[np.argmax(np.abs(state - mean))])
                checks.append(equality_check("the state (no error)", target, time_s, mean, farthest, span))
                continue
            checks += _moment_checks(state, reference)
            u = _uniform_scores(reference, state, rng, span)
            scores[i, ..., j] = ndtri(np.clip(u, 1e-12, 1.0 - 1e-12)).reshape(cells.states.shape[1:3])
            if i in (0, last):
                checks.append(uniformity_check("the distribution (distance)", target, time_s, u))
    return scores, checks


def _moment_checks(state: np.ndarray, reference: Reference) -> list[Check]:
    """Mean and standard deviation of the states (n,) of one target at one time."""
    mean, variance, fourth = reference.moments
    target, time_s, n = reference.target, reference.time_s, len(state)
    square = float(((state - mean) ** 2).mean())
    error = np.sqrt(max(fourth - variance**2, 0.0) / n)
    p = float(2.0 * stats.norm.sf(abs(square - variance) / error))
    return [
        mean_check("the mean", target, time_s, mean, float(state.mean()), np.sqrt(variance / n)),
        Check("the standard deviation", target, time_s, float(np.sqrt(variance)), float(np.sqrt(square)), p),
    ]


def _uniform_scores(reference: Reference, state: np.ndarray, rng: np.random.Generator, span: float) -> np.ndarray:
    """P(a cell <= state), uniform if the states are right; equal states are spread over their probability."""
    width = 1e-9 * span
    low, high = reference.cdf(state - width), reference.cdf(state + width)
    return low + rng.uniform(size=len(state)) * (high - low)


def independence_checks(scores: np.ndarray) -> list[Check]:
    """Check correlations at time 0.

    Args:
        scores: Normal scores (times, chips, cells, targets).
    """
    z = scores[0]
    return [
        *correlation_checks("the correlation between neighbouring cells", z[:, 1:], z[:, :-1]),
        *correlation_checks("the correlation between neighbouring targets", z[..., 1:], z[..., :-1]),
        *correlation_checks("the correlation between chips", z[1:], z[:-1]),
    ]


def stuck_checks(card: Card, cells: SimulatedCells) -> list[Check]:
    """Check how many cells are moved to either end, and that the others stay as they were."""
    if cells.with_stuck is None:
        return []
    low, high = card.window
    span, checks = high - low, []
    before, after = cells.states[0], cells.with_stuck
    moved = np.abs(after - before) > EXACT_TOLERANCE * span
    at_end = [np.abs(after - end) <= EXACT_TOLERANCE * span for end in (low, high)]
    elsewhere = float((moved & ~at_end[0] & ~at_end[1]).sum())
    checks.append(equality_check("cells that stuck cells move elsewhere", None, 0.0, 0.0, elsewhere, 1.0))
    ends = zip(("low", "high"), (low, high), at_end, card.stuck_fractions, strict=True)
    for name, end, there, fraction in ends:
        visible = np.abs(before - end) > EXACT_TOLERANCE * span  # a cell at this end already would not show it
        count, number = int((moved & there & visible).sum()), int(visible.sum())
        p = float(stats.binomtest(count, number, fraction).pvalue)
        checks.append(Check(f"the fraction of cells stuck {name}", None, 0.0, fraction, count / number, p))
    return checks
