"""Charts of a device as text: bars over the state, bands over time."""

from collections.abc import Iterator, Sequence

from aimc_robust.devices.cell_model import CellModel
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

WIDTH = 40  # characters
POINTS = 11


def charts(cell: CellModel) -> Iterator[tuple[str, list[str]]]:
    """Yield (title, lines) of each chart: programming error, and read noise and drift if the device has them."""
    unit = "shares of full scale" if cell.unit == "1" else cell.unit
    yield (
        f"programming error: standard deviation over the target state, both in {unit}",
        bars(programming_curve(cell, POINTS)),
    )
    if cell.has_read_noise:
        times = read_times_s(cell)
        for time_s in times:
            when = f" {time_text(time_s)} after programming" if len(times) > 1 else ""
            yield (
                f"read noise{when}: standard deviation of one read over the target state, both in {unit}",
                bars(read_curve(cell, POINTS, time_s=time_s)),
            )
    if cell.has_drift:
        curves = drift_curves(cell, round_times_s(cell))
        yield f"drift: mean and standard deviation of the state over time, in {unit}", bands(curves)


def bars(curve: StdCurve) -> list[str]:
    """Return one line per state: state, standard deviation, and a bar of proportional length."""
    full = float(curve.std.max()) or 1.0
    return [
        f"{float(state):10.4g}  {float(std):8.4g}  {'█' * round(WIDTH * float(std) / full)}"
        for state, std in zip(curve.state, curve.std, strict=True)
    ]


def bands(curves: DriftCurves) -> list[str]:
    """Return, for each target, one line per time: mean, standard deviation, and a band of one sd around the mean."""
    lines = []
    for i, target in enumerate(curves.targets.tolist()):
        means, stds = curves.mean[:, i].tolist(), curves.std[:, i].tolist()
        low = min(target, *(m - s for m, s in zip(means, stds, strict=True)))
        high = max(target, *(m + s for m, s in zip(means, stds, strict=True)))
        lines.append(f"target {target:.4g}; the line spans {low:.4g} to {high:.4g}")
        for time_s, mean, std in zip(curves.times_s, means, stds, strict=True):
            columns = [_column(value, low, high) for value in (mean - std, mean, mean + std)]
            lines.append(f"{time_text(time_s):>10}  {mean:8.4g} ± {std:<8.3g}  {_band(columns)}")
    return lines


def _column(value: float, low: float, high: float) -> int:
    return round((WIDTH - 1) * (value - low) / (high - low)) if high > low else 0


def _band(columns: Sequence[int]) -> str:
    left, middle, right = columns
    return "".join("●" if i == middle else "━" if left <= i <= right else "·" for i in range(WIDTH))
