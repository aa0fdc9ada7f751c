"""Text about a fit: the card's `fit` and `note`, the comments of its file, and warnings."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from aimc_robust.devices.card import Card
from aimc_robust.errors import join_names
from aimc_robust.fitting.bins import Bin
from aimc_robust.fitting.card_draft import CardDraft, DriftFit
from aimc_robust.fitting.device_share import MIN_DEVICES, DeviceShare
from aimc_robust.fitting.goodness import Goodness
from aimc_robust.fitting.measurements import Measurements
from aimc_robust.fitting.points import Points
from aimc_robust.fitting.programming import MIN_CELLS, MeanOffset
from aimc_robust.fitting.read_noise import ReadNoise
from aimc_robust.fitting.std_laws import law_name
from aimc_robust.fitting.stuck_cells import StuckCells

READ_NOISE_CHANGE = 0.2  # |ln factor| above which read noise is reported to change with time


def fit_sentence(card: Card, goodness: Goodness, draft: CardDraft, drift: DriftFit) -> str:
    """The card's `fit`: the forms of the laws, and p values."""
    parts = [f"programming: {law_name(card.programming)}, {goodness.times[0].points} cells"]
    if card.drift is not None:
        parts.append(f"drift: {drift.summary.split(';')[0]}")
    if draft.read_noise is not None:
        parts.append(f"read noise: {law_name(draft.read_noise.law)}")
    parts.append(distribution_text(goodness))
    if drift.empirical is not None:
        return "; ".join(parts) + "."
    if not math.isnan(goodness.p_law):
        parts.append(f"law over the state p = {goodness.p_law:.2g}")
    return "; ".join(parts) + ". Maximum likelihood, selected by BIC."


def distribution_text(goodness: Goodness) -> str:
    """How far the cells are from the card's distribution."""
    if math.isnan(goodness.distance):
        return "a summary table: normal errors are assumed, their distribution is not tested"
    if math.isnan(goodness.p_distance):
        return (
            "devices were programmed repeatedly and what stays with a device is not known: cells are not independent, "
            "their distribution is not tested"
        )
    text = f"Kolmogorov-Smirnov D = {goodness.distance:.3f}, p = {goodness.p_distance:.2g}"
    return text if math.isnan(goodness.p_anderson) else f"{text}; Anderson-Darling p = {goodness.p_anderson:.2g}"


def share_text(share: DeviceShare) -> str:
    """How much of the programming error stays with a device."""
    return (
        f"{100 * share.share:.1f} % of the programming error's variance stays with a device (95 % interval "
        f"{100 * share.low:.1f} to {100 * share.high:.1f}), from {share.programmings} programmings of {share.devices} "
        f"devices{'' if share.low > 0 else '; the interval reaches 0, which the card has'}"
    )


def note_sentence(
    draft: CardDraft, drift: DriftFit, offset: MeanOffset, share: DeviceShare | None, warnings: list[str]
) -> str:
    """The card's `note`: what its numbers include, when its time is 0, and the warnings."""
    parts = [
        f"Mean of measured - target {offset.mean:.3g} {draft.unit} ({offset.low:.3g} to {offset.high:.3g}), included "
        "in the programming error."
    ]
    if draft.read_noise is None:
        parts.append("No repeated reads: the programming error includes the read noise.")
    if share is not None:
        parts.append(f"{share_text(share)}.")
    if drift.time_zero_s > 0:
        parts.append(f"Time counts from the earliest measurement, {drift.time_zero_s:g} s after programming.")
    parts += [f"Warning: {warning}" for warning in warnings]
    return " ".join(parts)


def comment_lines(card: Card, goodness: Goodness, drift: str) -> Iterator[str]:
    """Comments of a card's file: the goodness of fit, and the summary of the drift fit."""
    yield f"Goodness of fit. {card.source.fit}"
    yield f"R^2 of the standard deviation {goodness.r_squared:.3f}"
    yield f"Drift: {drift}"
    yield f"Programming error [{card.unit}]: target, cells, measured (95 % interval), fitted"
    yield from (_bin_line(b) for b in goodness.bins)
    if goodness.read_bins:
        yield f"Read noise [{card.unit}]: state, cells, measured (95 % interval), fitted"
        yield from (_bin_line(b) for b in goodness.read_bins)
    if len(goodness.times) > 1:
        yield "Standardized residuals: time [s], cells, mean, standard deviation, Kolmogorov-Smirnov p"
        yield from (f"  {t.time_s:10.4g} {t.points:7d} {t.mean:+8.3f} {t.std:8.3f} {t.p:9.2g}" for t in goodness.times)
    yield ""


def _bin_line(b: Bin) -> str:
    return f"  {b.target:10.4g} {b.points:7d} {b.measured:10.4g} ({b.low:.4g} to {b.high:.4g}) {b.fitted:10.4g}"


def ignored_warning(table: Measurements) -> Iterator[str]:
    """Which columns of the measurements are not used."""
    if table.ignored:
        yield f"columns that are not used: {join_names(table.ignored, limit=12)}."


def fit_warnings(
    goodness: Goodness,
    draft: CardDraft,
    offset: MeanOffset,
    stuck: StuckCells,
    points: Points,
    share: DeviceShare | None,
    *,
    empirical: bool,
) -> list[str]:
    """What a user of the card should know before using it."""
    warnings = []
    faults = goodness.faults()
    if faults:
        warnings.append("the card does not describe these measurements well: " + "; ".join(faults) + ".")
    if not empirical:  # a table of quantiles has the offset
        warnings += _offset_warnings(goodness, offset, draft.unit)
    warnings += _outlier_warnings(stuck)
    warnings += _read_noise_warnings(points, draft.read_noise)
    if points.cycled and share is None:
        warnings.append(
            f"fewer than {MIN_DEVICES} devices have two cycles at the earliest time, or each has a target of its own: "
            "the share of the error that stays with a device is not estimated."
        )
    sparse = [t for g, t in enumerate(points.times_s) if 0 < (points.group == g).sum() < MIN_CELLS]
    if sparse:
        warnings.append(
            f"fewer than {MIN_CELLS} cells at {', '.join(f'{t:g}' for t in sparse[:5])} s: a drift table has no "
            "row there."
        )
    return warnings


def _offset_warnings(goodness: Goodness, offset: MeanOffset, unit: str) -> Iterator[str]:
    if offset.matters:
        yield (
            f"states lie {offset.mean:+.4g} {unit} off their targets on average at the earliest time (95 % interval "
            f"{offset.low:.4g} to {offset.high:.4g}); a card has no constant offset, so it counts as error."
        )
        return
    off = [b for b in goodness.bins if abs(b.offset) > 0.5 and abs(b.offset) * np.sqrt(b.points) > 4.5]
    if off:
        where = ", ".join(f"{b.target:.4g} {unit} ({b.offset:+.2f} standard deviations)" for b in off)
        yield f"states lie off their targets on average near {where}; the card counts that as error."


def _outlier_warnings(stuck: StuckCells) -> Iterator[str]:
    low, high = int(stuck.low.sum()), int(stuck.high.sum())
    if low or high:
        yield (
            f"{low} cells stay at the low end and {high} at the high end of the window, whatever their target; they "
            "are excluded from the laws, and the card lists them as [stuck]."
        )
    if stuck.outliers:
        yield (
            f"{stuck.outliers} cells lie more than 6 robust standard deviations off their targets without being stuck; "
            "they are part of the fit and widen it."
        )


def _read_noise_warnings(points: Points, read_noise: ReadNoise | None) -> Iterator[str]:
    if read_noise is None or np.abs(np.log(np.maximum(read_noise.factors, 1e-3))).max() <= READ_NOISE_CHANGE:
        return
    factors = read_noise.factors
    least, most = int(np.argmin(factors)), int(np.argmax(factors))
    yield (
        f"read noise changes with time, from {factors[least]:.2f} times the card's law at {points.times_s[least]:g} s "
        f"to {factors[most]:.2f} times at {points.times_s[most]:g} s; the law is that of all times together."
    )
