"""A fit in words: the card's `fit` and `note`, and the comments of its file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from aimc_robust.fitting.bins import Bin
from aimc_robust.fitting.goodness import Goodness
from aimc_robust.fitting.laws import family_text
from aimc_robust.fitting.points import Points
from aimc_robust.fitting.programming import Offset, ReadNoise, Stuck

if TYPE_CHECKING:
    from aimc_robust.fitting.fit import Fit
CHANGES = 0.2  # of the logarithm of read noise, beyond which its change with time is told


def fit_sentence(fit: Fit) -> str:
    """The forms of the laws, and the p values."""
    good = fit.goodness
    parts = [f"programming: {family_text(fit.card.programming)}, {len(fit.points.at(0))} cells"]
    if fit.card.drift is not None:
        parts.append(f"drift: {fit.drift_text.split(';')[0]}")
    if fit.read is not None:
        parts.append(f"read noise: {family_text(fit.read.law)}")
    parts.append(f"Kolmogorov-Smirnov D = {good.distance:.3f}, p = {good.p_distance:.2g}")
    parts.append(f"law over the state p = {good.p_law:.2g}")
    return "; ".join(parts) + ". Maximum likelihood, chosen by BIC."


def note_sentence(fit: Fit) -> str:
    """What the card's numbers contain, and what its time counts from."""
    unit, offset = fit.card.unit, fit.offset
    parts = [
        f"Mean of measured - target {offset.mean:.3g} {unit} ({offset.low:.3g} to {offset.high:.3g}), contained in the "
        "programming error."
    ]
    if fit.read is None:
        parts.append("No repeated reads: the programming error contains the read noise.")
    if fit.clock_s > 0:
        parts.append(f"Time counts from the earliest measurement, {fit.clock_s:g} s after programming.")
    parts += [f"Warning: {warning}" for warning in fit.warnings]
    return " ".join(parts)


def comments(fit: Fit) -> Iterator[str]:
    """Lines on the goodness of fit."""
    good, unit = fit.goodness, fit.card.unit
    yield f"Goodness of fit. {fit.card.source.fit}"
    yield f"R^2 of the standard deviation {good.r_squared:.3f}; Anderson-Darling p = {good.p_anderson:.2g}"
    yield f"Drift: {fit.drift_text}"
    yield f"Programming error [{unit}]: target, cells, measured (95 % interval), fitted"
    yield from (bin_line(b) for b in good.bins)
    if good.read_bins:
        yield f"Read noise [{unit}]: state, cells, measured (95 % interval), fitted"
        yield from (bin_line(b) for b in good.read_bins)
    if len(good.times) > 1:
        yield "Standardised residuals: time [s], cells, mean, standard deviation, Kolmogorov-Smirnov p"
        yield from (f"  {t.time_s:10.4g} {t.points:7d} {t.mean:+8.3f} {t.std:8.3f} {t.p:9.2g}" for t in good.times)
    yield ""


def bin_line(b: Bin) -> str:
    """One bin as a line of a table."""
    return f"  {b.target:10.4g} {b.points:7d} {b.measured:10.4g} ({b.low:.4g} to {b.high:.4g}) {b.fitted:10.4g}"


def warnings_of(
    goodness: Goodness, offset: Offset, stuck: Stuck, points: Points, read: ReadNoise | None, unit: str
) -> list[str]:
    """What a user of the card should know first."""
    found = []
    faults = goodness.faults()
    if faults:
        found.append("the card does not describe these measurements well: " + "; ".join(faults) + ".")
    if offset.matters:
        found.append(
            f"states lie {offset.mean:+.4g} {unit} off their targets on average at the earliest time (95 % interval "
            f"{offset.low:.4g} to {offset.high:.4g}); a card has no constant offset there, so it counts as error."
        )
    off = [b for b in goodness.bins if abs(b.offset) > 0.5 and abs(b.offset) * np.sqrt(b.points) > 4.5]
    if off and not offset.matters:
        where = ", ".join(f"{b.target:.4g} {unit} ({b.offset:+.2f} standard deviations)" for b in off)
        found.append(f"states lie off their targets on average near {where}; the card counts that as error.")
    low, high = int(stuck.low.sum()), int(stuck.high.sum())
    if low or high:
        found.append(
            f"{low} cells stay at the low and {high} at the high end of the window, whatever their target; they are "
            "left out of the laws, and the card has them as [stuck]."
        )
    if stuck.strays:
        found.append(
            f"{stuck.strays} cells lie more than 6 robust standard deviations off their targets without being stuck; "
            "they are part of the fit and widen it."
        )
    if read is not None and np.abs(np.log(np.maximum(read.factors, 1e-3))).max() > CHANGES:
        least, most = int(np.argmin(read.factors)), int(np.argmax(read.factors))
        found.append(
            f"read noise changes with time, from {read.factors[least]:.2f} times the card's law at "
            f"{points.times_s[least]:g} s to {read.factors[most]:.2f} times at {points.times_s[most]:g} s; the law is "
            "that of all times together."
        )
    few = [t for g, t in enumerate(points.times_s) if 0 < (points.group == g).sum() < 20]
    if few:
        found.append(
            f"fewer than 20 cells at {', '.join(f'{t:g}' for t in few[:5])} s: a drift table has no row there."
        )
    return found
