"""Checks of simulated cells: distribution and change of states, independence, stuck cells, read noise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from scipy import stats
from scipy.special import ndtr

from aimc_robust.devices.cell_model import CellModel
from aimc_robust.devices.cell_model_checks import read_std
from aimc_robust.devices.cells import CellStates
from aimc_robust.fitting.simulated_cells import READS, SimulatedCells

EXACT_TOLERANCE = 1e-6  # of the window: difference up to which non-random values count as equal
SMALLEST_STD = 1e-9  # of the window: up to it values count as not random
MIN_VALUES = 100  # for a check


class Check(NamedTuple):
    """One comparison of simulated cells with what the device states.

    Attributes:
        name: What is compared.
        target: Target state [device.unit]; None if the check covers all targets.
        time_s: Seconds since programming; None if the check covers all times.
        expected: Value that the device states.
        observed: Value of the simulation.
        p: p value of a difference as large; 0 or 1 for values that are not random.
    """

    name: str
    target: float | None
    time_s: float | None
    expected: float
    observed: float
    p: float


def state_checks(cells: SimulatedCells, stated: np.ndarray, rng: np.random.Generator) -> list[Check]:
    """Check mean and standard deviation at each target and time, and of the change since the time before.

    The change shows whether a cell drifts along one trajectory. At the first and the last time the distribution is
    checked too. `stated` (times, points, targets) is from `stated_states`; `rng` is for states that many cells share.
    """
    span, last = float(np.ptp(cells.targets)), len(cells.times_s) - 1
    name = "a chip that is programmed again (largest difference)"
    largest = float(np.abs(cells.again - cells.states[last, 0]).max())
    checks = [_equality_check(name, None, cells.times_s[last], 0.0, largest, span)]
    for i, time_s in enumerate(cells.times_s):
        for j, target in enumerate(cells.targets.tolist()):
            now, expected = cells.states[i, ..., j].ravel(), stated[i, :, j]
            checks += _value_checks("", target, time_s, now, expected, span)
            if i in (0, last) and expected.std() > SMALLEST_STD * span:
                scores = _uniform_scores(now, expected, rng, span)
                checks.append(_uniformity_check("the distribution (distance)", target, time_s, scores))
            if i > 0:
                change, expected_change = now - cells.states[i - 1, ..., j].ravel(), expected - stated[i - 1, :, j]
                checks += _value_checks(
                    " of the change since the time before,", target, time_s, change, expected_change, span
                )
    return checks


def _value_checks(
    of: str, target: float, time_s: float, value: np.ndarray, expected: np.ndarray, span: float
) -> list[Check]:
    """Mean and standard deviation of values (n,) against those of equally likely ones (points,)."""
    mean, deviation = float(expected.mean()), expected - expected.mean()
    variance, fourth = float((deviation**2).mean()), float((deviation**4).mean())
    if variance > (SMALLEST_STD * span) ** 2:
        return _moment_checks(of, target, time_s, value, mean=mean, variance=variance, fourth=fourth)
    farthest = float(value[np.argmax(np.abs(value - mean))])
    return [_equality_check(f"the value (no error){of}", target, time_s, mean, farthest, span)]


def _uniform_scores(state: np.ndarray, expected: np.ndarray, rng: np.random.Generator, span: float) -> np.ndarray:
    """P(a cell <= state), uniform if the states are right; equal states are spread over their probability."""
    points, width = np.sort(expected), 1e-9 * span
    low = np.searchsorted(points, state - width, side="left") / len(points)
    high = np.searchsorted(points, state + width, side="right") / len(points)
    return low + rng.uniform(size=len(state)) * (high - low)


def independence_checks(states: np.ndarray) -> list[Check]:
    """Check correlations of the programming errors; states right after programming (chips, cells, targets)."""
    deviation = states - states.mean(axis=(0, 1))
    std = deviation.std(axis=(0, 1))
    z = (deviation / np.where(std > 0, std, 1.0))[..., std > SMALLEST_STD * states.std()]
    return [
        *_correlation_checks("the correlation between neighbouring cells", z[:, 1:], z[:, :-1]),
        *_correlation_checks("the correlation between neighbouring targets", z[..., 1:], z[..., :-1]),
        *_correlation_checks("the correlation between chips", z[1:], z[:-1]),
    ]


def stuck_checks(cell: CellModel, cells: SimulatedCells) -> list[Check]:
    """Check how many cells are moved to either end, and that the others stay as they were."""
    if cells.with_stuck is None:
        return []
    low, high = cell.window
    span, checks = high - low, []
    before, after = cells.states[0], cells.with_stuck
    moved = np.abs(after - before) > EXACT_TOLERANCE * span
    at_end = [np.abs(after - end) <= EXACT_TOLERANCE * span for end in (low, high)]
    elsewhere = float((moved & ~at_end[0] & ~at_end[1]).sum())
    checks.append(_equality_check("cells that stuck cells move elsewhere", None, 0.0, 0.0, elsewhere, 1.0))
    ends = zip(("low", "high"), (low, high), at_end, cell.stuck_fractions, strict=True)
    for name, end, there, fraction in ends:
        visible = np.abs(before - end) > EXACT_TOLERANCE * span  # a cell at this end already would not show it
        count, number = int((moved & there & visible).sum()), int(visible.sum())
        p = float(stats.binomtest(count, number, fraction).pvalue)
        checks.append(Check(f"the fraction of cells stuck {name}", None, 0.0, fraction, count / number, p))
    return checks


def read_checks(cell: CellModel, cells: SimulatedCells) -> list[Check]:
    """Check that reads, standardized by the stated width for each cell, are normal, of width 1 and independent."""
    if cells.reads is None:
        return []
    span, checks = float(np.ptp(cells.targets)), []
    for i, time_s in enumerate(cells.times_s):
        states = CellStates(torch.from_numpy(cells.states[0]), torch.from_numpy(cells.states[i]))
        std = read_std(cell, states, time_s=time_s).numpy()
        noise = cells.reads[i] - cells.states[i][:, None]
        silent = std <= EXACT_TOLERANCE * span
        if silent.any():
            largest = float(np.abs(noise[np.broadcast_to(silent[:, None], noise.shape)]).max())
            name = "the read of cells without read noise (largest noise)"
            checks.append(_equality_check(name, None, time_s, 0.0, largest, span * 10.0))
        z = noise / np.where(silent, np.nan, std)[:, None]
        for j, target in enumerate(cells.targets.tolist()):
            values = z[..., j][np.isfinite(z[..., j])]
            if len(values) >= MIN_VALUES:
                checks += _moment_checks(" of read noise (relative)", target, time_s, values)
        pooled = z[np.isfinite(z)]
        if len(pooled) < MIN_VALUES:
            continue
        checks.append(_uniformity_check("the distribution of read noise (distance)", None, time_s, ndtr(pooled)))
        checks += _correlation_checks("the correlation of one read and the next", z[:, 1:], z[:, : READS - 1])
        checks += _correlation_checks("the correlation of read noise between cells", z[:, :, 1:], z[:, :, :-1])
    return checks


def _moment_checks(
    of: str,
    target: float,
    time_s: float,
    value: np.ndarray,
    *,
    mean: float = 0.0,
    variance: float = 1.0,
    fourth: float = 3.0,
) -> list[Check]:
    """Z tests of mean and standard deviation of independent values (n,); `of` is what has them, for the checks' names.

    The default mean, variance and fourth central moment are those of a standard normal number.
    """
    found, square, n = float(value.mean()), float(((value - mean) ** 2).mean()), len(value)
    scores = (found - mean) / np.sqrt(variance / n), (square - variance) / np.sqrt((fourth - variance**2) / n)
    p_mean, p_std = (float(2.0 * stats.norm.sf(abs(score))) for score in scores)
    return [
        Check(f"the mean{of}", target, time_s, mean, found, p_mean),
        Check(f"the standard deviation{of}", target, time_s, float(np.sqrt(variance)), float(np.sqrt(square)), p_std),
    ]


def _uniformity_check(name: str, target: float | None, time_s: float | None, u: np.ndarray) -> Check:
    """Kolmogorov-Smirnov test that `u` (n,) is uniform on [0, 1]."""
    test = stats.kstest(u, "uniform", method="asymp")
    return Check(name, target, time_s, 0.0, float(test.statistic), float(test.pvalue))


def _equality_check(
    name: str, target: float | None, time_s: float | None, expected: float, observed: float, span: float
) -> Check:
    """Check that two values that are not random agree to 1e-6 of `span`."""
    agrees = float(abs(observed - expected) <= EXACT_TOLERANCE * span)
    return Check(name, target, time_s, expected, observed, agrees)


def _correlation_checks(name: str, a: np.ndarray, b: np.ndarray) -> Iterator[Check]:
    """Check that `a` and `b` (any equal shape, NaN where missing) are uncorrelated; nothing for too few values."""
    a, b = a.ravel(), b.ravel()
    valid = np.isfinite(a) & np.isfinite(b)
    if valid.sum() >= MIN_VALUES:
        r = float(np.corrcoef(a[valid], b[valid])[0, 1])
        yield Check(name, None, None, 0.0, r, float(2.0 * stats.norm.sf(abs(r) * np.sqrt(valid.sum()))))
