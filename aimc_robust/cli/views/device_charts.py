"""A card's curves as text: bars over the state, bands over time."""

from collections.abc import Iterator, Sequence

from aimc_robust.devices.card import Card
from aimc_robust.devices.curves import (
    DriftCurves,
    StdCurve,
    drift_curves,
    programming_curve,
    read_curve,
    read_times_s,
    round_times_s,
)
from aimc_robust.devices.limits import time_text

WIDTH = 40
POINTS = 11


def charts(card: Card) -> Iterator[tuple[str, list[str]]]:
    """(title, lines) of each chart that the card has something for."""
    unit = "shares of full scale" if card.unit == "1" else card.unit
    yield (
        f"programming error: standard deviation over the target state, both in {unit}",
        bars(programming_curve(card, POINTS)),
    )
    if card.has_read_noise:
        times = read_times_s(card)
        for time_s in times:
            when = f" {time_text(time_s)} after programming" if len(times) > 1 else ""
            yield (
                f"read noise{when}: standard deviation of one read over the target state, both in {unit}",
                bars(read_curve(card, POINTS, time_s=time_s)),
            )
    if card.has_drift:
        aged = drift_curves(card, round_times_s(card))
        yield f"drift: mean and standard deviation of the state over time, in {unit}", bands(aged)


def bars(curve: StdCurve) -> list[str]:
    """A line per state: state, standard deviation, bar."""
    full = float(curve.std.max()) or 1.0
    return [
        f"{float(state):10.4g}  {float(std):8.4g}  {'█' * round(WIDTH * float(std) / full)}"
        for state, std in zip(curve.state, curve.std, strict=True)
    ]


def bands(aged: DriftCurves) -> list[str]:
    """A block per target, a line per time: mean, standard deviation, and a band of one around the mean."""
    lines = []
    for i, target in enumerate(aged.targets.tolist()):
        means, stds = aged.mean[:, i].tolist(), aged.std[:, i].tolist()
        low = min(target, *(m - s for m, s in zip(means, stds, strict=True)))
        high = max(target, *(m + s for m, s in zip(means, stds, strict=True)))
        lines.append(f"target {target:.4g}; the line spans {low:.4g} to {high:.4g}")
        for time_s, mean, std in zip(aged.times_s, means, stds, strict=True):
            places = [_place(value, low, high) for value in (mean - std, mean, mean + std)]
            lines.append(f"{time_text(time_s):>10}  {mean:8.4g} ± {std:<8.3g}  {_band(places)}")
    return lines


def _place(value: float, low: float, high: float) -> int:
    return round((WIDTH - 1) * (value - low) / (high - low)) if high > low else 0


def _band(places: Sequence[int]) -> str:
    left, middle, right = places
    return "".join("●" if i == middle else "━" if left <= i <= right else "·" for i in range(WIDTH))
