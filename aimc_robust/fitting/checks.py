"""The checks of a card: simulated cells against the reference."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy import stats
from scipy.special import ndtr, ndtri

from aimc_robust.devices.card import Card
from aimc_robust.fitting.reference import Reference, read_sigma
from aimc_robust.fitting.simulated import READS, Simulated

EXACT = 1e-6  # of the window: what counts as equal where nothing is random
FEWEST = 100  # values for a check


class Check(NamedTuple):
    """One check: what, at which target [card.unit] and time [s] (None: at all), what was expected and found, and the
    p value of a difference as large; 0 or 1 where nothing is random."""

    what: str
    target: float | None
    time_s: float | None
    expected: float
    found: float
    p: float


def _z_check(what: str, target: float, time_s: float, expected: float, found: float, error: float) -> Check:
    return Check(what, target, time_s, expected, found, float(2.0 * stats.norm.sf(abs(found - expected) / error)))


def _uniform(what: str, target: float | None, time_s: float | None, u: np.ndarray) -> Check:
    test = stats.kstest(u, "uniform", method="asymp")
    return Check(what, target, time_s, 0.0, float(test.statistic), float(test.pvalue))


def _exact(what: str, target: float | None, time_s: float | None, expected: float, found: float, span: float) -> Check:
    return Check(what, target, time_s, expected, found, float(abs(found - expected) <= EXACT * span))


def state_checks(
    found: Simulated, references: list[list[Reference]], rng: np.random.Generator
) -> tuple[np.ndarray, list[Check]]:
    """Normal scores (as `found.states`, NaN where nothing is random), and the checks of each target and time."""
    span, checks = float(np.ptp(found.targets)), []
    scores = np.full(found.states.shape, np.nan)
    last = len(found.times_s) - 1
    for i, time_s in enumerate(found.times_s):
        for j, target in enumerate(found.targets.tolist()):
            state, reference = found.states[i, ..., j].ravel(), references[i][j]
            mean, variance, fourth = reference.moments
            if variance <= (EXACT * span) ** 2:
                farthest = float(state[np.argmax(np.abs(state - mean))])
                checks.append(_exact("the state (no error)", target, time_s, mean, farthest, span))
                continue
            n = len(state)
            checks.append(_z_check("the mean", target, time_s, mean, float(state.mean()), np.sqrt(variance / n)))
            square = float(((state - mean) ** 2).mean())
            error = np.sqrt(max(fourth - variance**2, 0.0) / n)
            std, found_std = np.sqrt(variance), np.sqrt(square)
            p = float(2.0 * stats.norm.sf(abs(square - variance) / error))
            checks.append(Check("the standard deviation", target, time_s, float(std), float(found_std), p))
            u = _spread_out(reference, state, rng, span)
            scores[i, ..., j] = ndtri(np.clip(u, 1e-12, 1.0 - 1e-12)).reshape(found.states.shape[1:3])
            if i in (0, last):
                checks.append(_uniform("the distribution (distance)", target, time_s, u))
    return scores, checks


def _spread_out(reference: Reference, state: np.ndarray, rng: np.random.Generator, span: float) -> np.ndarray:
    """P(a cell <= state), uniform for a right state: states that many cells share are spread over their probability."""
    width = 1e-9 * span
    low, high = reference.below(state - width), reference.below(state + width)
    return low + rng.uniform(size=len(state)) * (high - low)


def _correlation(what: str, a: np.ndarray, b: np.ndarray) -> Iterator[Check]:
    a, b = a.ravel(), b.ravel()
    kept = np.isfinite(a) & np.isfinite(b)
    if kept.sum() >= FEWEST:
        found = float(np.corrcoef(a[kept], b[kept])[0, 1])
        yield Check(what, None, None, 0.0, found, float(2.0 * stats.norm.sf(abs(found) * np.sqrt(kept.sum()))))


def independence_checks(scores: np.ndarray) -> list[Check]:
    """Correlations at time 0, of (chips, cells, targets)."""
    z = scores[0]
    return [
        *_correlation("the correlation between neighbouring cells", z[:, 1:], z[:, :-1]),
        *_correlation("the correlation between neighbouring targets", z[..., 1:], z[..., :-1]),
        *_correlation("the correlation between chips", z[1:], z[:-1]),
    ]


def ageing_checks(found: Simulated, references: list[list[Reference]], scores: np.ndarray) -> list[Check]:
    """The draws of ageing: the same at all times, as the card says, and independent of the programming error."""
    aged = [i for i in range(len(found.times_s)) if references[i][0].aged]
    if not aged:
        return []
    drawn = np.full(found.states.shape, np.nan)
    for i in aged:
        for j in range(len(found.targets)):
            programmed, now = found.states[0, ..., j], found.states[i, ..., j]
            drawn[i, ..., j] = references[i][j].drawn(programmed.ravel(), now.ravel()).reshape(now.shape)
    kind = references[0][0].card.drift.kind
    checks = []
    if kind == "table":  # a table's draw is that of programming
        for j, target in enumerate(found.targets.tolist()):
            low, high = references[0][j].bounds(aged=False)
            state, error = found.states[0, ..., j], references[0][j].error
            if error > 0:
                xi = (state - target) / error
                drawn[0, ..., j] = np.where((state > low) & (state < high), xi, np.nan)
        aged = [0, *aged]
    size = float(np.nanstd(drawn)) or 1.0
    for a, b in itertools.pairwise(aged):
        differ = np.abs(drawn[a] - drawn[b])
        if np.isfinite(differ).any():
            what = "the cells' draw of ageing, against an earlier time (largest difference)"
            checks.append(_exact(what, None, found.times_s[b], 0.0, float(np.nanmax(differ)), size * 10.0))
    if kind == "table":
        return checks
    last = aged[-1]
    for j, target in enumerate(found.targets.tolist()):
        value = drawn[last, ..., j].ravel()
        value = value[np.isfinite(value)]
        # where a cut hides some draws the rest are no fair sample: the distribution of the state is checked instead
        if len(value) < drawn[last, ..., j].size or np.ptp(value) < EXACT:
            continue
        u = references[last][j].drawn_below(value)
        checks.append(_uniform("the draw of ageing (distance)", target, found.times_s[last], u))
    centred = drawn[last] - np.nanmean(drawn[last], axis=(0, 1))
    whole = np.isfinite(drawn[last]).all(axis=(0, 1))
    checks += _correlation(
        "the correlation of ageing and programming error", centred[..., whole], scores[0][..., whole]
    )
    return checks


def read_checks(card: Card, found: Simulated) -> list[Check]:
    """Read noise, standardised by the reference's width for each cell: normal, of width 1, fresh at each read."""
    if found.reads is None:
        return []
    span, checks = float(np.ptp(found.targets)), []
    for i, time_s in enumerate(found.times_s):
        std = read_sigma(card, found.states[0], found.states[i], time_s)
        noise = found.reads[i] - found.states[i][:, None]
        silent = std <= EXACT * span
        if silent.any():
            largest = float(np.abs(noise[np.broadcast_to(silent[:, None], noise.shape)]).max())
            checks.append(_exact("the read of silent cells (largest noise)", None, time_s, 0.0, largest, span * 10.0))
        z = noise / np.where(silent, np.nan, std)[:, None]
        for j, target in enumerate(found.targets.tolist()):
            part = z[..., j]
            part = part[np.isfinite(part)]
            if len(part) < FEWEST:
                continue
            square = float((part**2).sum())
            p = min(1.0, 2.0 * float(min(stats.chi2.sf(square, len(part)), stats.chi2.cdf(square, len(part)))))
            width = float(np.sqrt(square / len(part)))
            checks.append(Check("the width of read noise (relative)", target, time_s, 1.0, width, p))
            error = 1.0 / np.sqrt(len(part))
            checks.append(_z_check("the mean of read noise (relative)", target, time_s, 0.0, float(part.mean()), error))
        pooled = z[np.isfinite(z)]
        if len(pooled) < FEWEST:
            continue
        checks.append(_uniform("the distribution of read noise (distance)", None, time_s, ndtr(pooled)))
        checks += _correlation("the correlation of one read and the next", z[:, 1:], z[:, : READS - 1])
        checks += _correlation("the correlation of read noise between cells", z[:, :, 1:], z[:, :, :-1])
    return checks


def stuck_checks(card: Card, found: Simulated) -> list[Check]:
    """How many cells the card's fractions move to either end, and that the rest stay as they were."""
    if found.with_stuck is None:
        return []
    low, high = card.range.min, card.range.max
    span, checks = high - low, []
    before, after = found.states[0], found.with_stuck
    moved = np.abs(after - before) > EXACT * span
    ends = {"low": np.abs(after - low) <= EXACT * span, "high": np.abs(after - high) <= EXACT * span}
    elsewhere = float((moved & ~ends["low"] & ~ends["high"]).sum())
    checks.append(_exact("cells that stuck cells move elsewhere", None, 0.0, 0.0, elsewhere, 1.0))
    for end, there in ends.items():
        fraction = getattr(card.stuck, end)
        free = np.abs(before - (low if end == "low" else high)) > EXACT * span  # others do not show it
        count, cells = int((moved & there & free).sum()), int(free.sum())
        p = float(stats.binomtest(count, cells, fraction).pvalue)
        checks.append(Check(f"the fraction of cells stuck {end}", None, 0.0, fraction, count / cells, p))
    return checks
