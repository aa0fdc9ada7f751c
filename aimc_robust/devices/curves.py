"""What a device model predicts, as curves to print and to draw, without random draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from aimc_robust.devices.cell_model import CellModel
from aimc_robust.devices.cell_model_checks import programming_std, read_std
from aimc_robust.devices.limits import DAY_S, YEAR_S
from aimc_robust.devices.moments import integrated_moments
from aimc_robust.devices.states import cell_states

DRIFT_TARGETS = (0.1, 0.5, 1.0)  # fractions of the window: the targets whose drift is shown


class StdCurve(NamedTuple):
    """A standard deviation over the target state, both (points,) [cell.unit]."""

    state: Tensor
    std: Tensor


class DriftCurves(NamedTuple):
    """Mean and standard deviation (times, targets) of the state for each target (targets,), all in the cell's unit."""

    targets: Tensor
    times_s: list[float]
    mean: Tensor
    std: Tensor


def programming_curve(cell: CellModel, points: int) -> StdCurve:
    """Standard deviation of the programming error over the device's window."""
    state = torch.linspace(*cell.window, points, dtype=torch.float64)
    return StdCurve(state, programming_std(cell, state))


def read_curve(cell: CellModel, points: int, *, time_s: float) -> StdCurve:
    """Standard deviation of one read over the target state, for a cell in the middle of its distribution."""
    state = torch.linspace(*cell.window, points, dtype=torch.float64)
    states = cell_states(cell, state, _median, time_s=time_s, stuck=(0.0, 0.0))
    return StdCurve(state, read_std(cell, states, time_s=time_s))


def read_times_s(cell: CellModel) -> list[float]:
    """Times [s] at which read noise is worth showing: time 0 only, if it depends on nothing but the present state."""
    if not cell.read_noise_depends_on_time:
        return [0.0]
    last = cell.drift_limits_s[1] if cell.drift_limits_s is not None else DAY_S
    return sorted({1.0, min(DAY_S, last), last})


def drift_curves(cell: CellModel, times_s: Sequence[float]) -> DriftCurves:
    """Mean and standard deviation over cells of the state at each time [s], for three targets of the window."""
    low, high = cell.window
    targets = torch.tensor([low + fraction * (high - low) for fraction in DRIFT_TARGETS], dtype=torch.float64)
    moments = [integrated_moments(cell, targets, time_s=t, stuck=(0.0, 0.0)) for t in times_s]
    mean, variance = (torch.stack(values) for values in zip(*moments, strict=True))
    return DriftCurves(targets, list(times_s), mean, variance.sqrt())


def round_times_s(cell: CellModel) -> list[float]:
    """Time 0 and round times [s] within the limits of the device's drift, for a table."""
    last = _last_s(cell)
    marks = [1.0, 60.0, 3600.0, DAY_S, 2 * DAY_S, 5 * DAY_S, 30 * DAY_S, YEAR_S, 10 * YEAR_S]
    return [0.0, *[t for t in marks if t <= last]] + ([last] if last not in marks else [])


def smooth_times_s(cell: CellModel, points: int) -> list[float]:
    """Times [s] evenly spaced in their logarithm, from 1 s (or less, for a shorter drift) to the drift's limit."""
    last = _last_s(cell)
    first = min(1.0, last / 1000.0)
    return [last * (first / last) ** (1.0 - i / (points - 1)) for i in range(points)]


def _last_s(cell: CellModel) -> float:
    assert cell.drift_limits_s is not None, "drift is shown for devices that have one"
    return cell.drift_limits_s[1]


def _median(effect: str, like: Tensor) -> Tensor:
    """The median of each effect's random numbers."""
    return torch.full_like(like, 0.5 if effect == "programming-uniform" else 0.0)
