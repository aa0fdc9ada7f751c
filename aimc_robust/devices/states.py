"""The states of programmed cells: after programming, and at a later time. The same draws give the same devices."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from aimc_robust.devices.card import Card
from aimc_robust.devices.drift_interpolation import row_at
from aimc_robust.devices.laws import ClippedLog, LogarithmicDrift, PowerLawDrift, TableDrift
from aimc_robust.devices.std import polynomial, programming_std, std_of
from aimc_robust.errors import InputError, require_finite

# draw(effect, like) -> tensor of like's shape, dtype and device. Effects: "programming" and "drift" are standard
# normal, "programming-uniform" and "stuck" are uniform on [0, 1).
Draw = Callable[[str, Tensor], Tensor]


class CellStates(NamedTuple):
    """States of the same cells right after programming and now [card.unit], each of the targets' shape."""

    programmed: Tensor
    now: Tensor


def cell_states(
    card: Card,
    target: Tensor,
    draw: Draw,
    *,
    time_s: float = 0.0,
    window: tuple[float, float] | None = None,
    error_scale: float = 1.0,
    stuck: tuple[float, float] | None = None,
    programming: bool = True,
    drift: bool = True,
) -> CellStates:
    """Target states -> states after programming and `time_s` later; the same draws at another time age the same chip.

    programmed = clip(target + error_scale * sigma(target) * xi); now as the card's drift says (`devices.kinds`).
    target: any shape [card.unit], left as it is. draw: the randomness, called at most once per effect.
    window: (min, max) [card.unit] to clip to and for stuck cells; None: the card's own.
    error_scale: factor on the standard deviation of the programming error and of a drift table, not on its shift.
    stuck: fractions of cells at the window's min and max, whatever is programmed; None: the card's own.
    programming, drift: whether the error of programming, and the ageing, act. A drift table states the whole width at
        each time; without programming error its shift is left, and what the width has grown by.
    Returns both states; without drift or at time 0 they are one tensor. Source: the card's own.
    Raises InputError for a time, scale or fraction that cannot be.
    """
    require_finite("time_s (seconds since programming)", time_s)
    require_finite("error_scale", error_scale)
    bounds = (card.range.min, card.range.max) if window is None else window
    xi = _programming_draw(card, target, draw)
    std = programming_std(card, target)
    before = None if programming else std.clone()
    programmed = _clip(
        _spread(std if programming else std.zero_(), target, xi, error_scale), card.programming.clip, bounds
    )
    now = programmed
    if drift and card.drift is not None and time_s > 0:
        match card.drift:
            case TableDrift() as law if time_s > law.at[0].time_s:
                now = _from_table(law, target, xi, time_s, error_scale, before)
            case PowerLawDrift() as law:
                now = _power_law(law, target, programmed, draw("drift", target), time_s)
            case LogarithmicDrift() as law:
                now = _logarithmic(law, programmed, draw("drift", target), time_s)
        if now is not programmed:
            _clip(now, card.drift.clip, card.range.limits)  # a cell drifts within the device's limits
    _stick(card, (programmed,) if now is programmed else (programmed, now), draw, bounds, stuck)
    return CellStates(programmed, now)


def _programming_draw(card: Card, target: Tensor, draw: Draw) -> Tensor:
    """Mean 0, standard deviation 1, of the shape that the card names."""
    if card.programming.distribution == "uniform":
        return draw("programming-uniform", target).sub(0.5).mul_(math.sqrt(12.0))
    return draw("programming", target)


def _spread(std: Tensor, centre: Tensor, xi: Tensor, error_scale: float) -> Tensor:
    """centre + error_scale * std * xi, written over `std`."""
    if error_scale != 1.0:
        std.mul_(error_scale)
    return std.mul_(xi).add_(centre)


def _from_table(
    law: TableDrift, target: Tensor, xi: Tensor, time_s: float, error_scale: float, before: Tensor | None
) -> Tensor:
    """before: standard deviation at time 0, to be taken off; None leaves it in."""
    shift, std = row_at(law, time_s)
    centre = polynomial(shift, target).add_(target) if any(shift) else target
    width = std_of(std, centre)
    return _spread(width if before is None else width.sub_(before), centre, xi, error_scale)


def _power_law(law: PowerLawDrift, target: Tensor, programmed: Tensor, eta: Tensor, time_s: float) -> Tensor:
    tiny = torch.finfo(target.dtype).tiny
    x_ln = target.div(law.reference).clamp_(min=tiny).log_()
    mean = _clipped_log(law.exponent_mean, x_ln.clone())
    nu = _clipped_log(law.exponent_std, x_ln).mul_(eta).add_(mean).abs_()
    return nu.mul_(-math.log1p(time_s / law.t0_s)).exp_().mul_(programmed)


def _clipped_log(law: ClippedLog, x_ln: Tensor) -> Tensor:
    return x_ln.mul_(law.slope_ln).add_(law.offset).clamp_(law.min, law.max)


def _logarithmic(law: LogarithmicDrift, programmed: Tensor, eta: Tensor, time_s: float) -> Tensor:
    t_ln = math.log(max(time_s, 1.0))
    std = max(law.std_ln * t_ln + law.std_offset, 0.0)
    return eta.mul(std).add_(law.mean_ln * t_ln).add_(programmed)


def _clip(state: Tensor, clip: str, bounds: tuple[float, float]) -> Tensor:
    """In place."""
    return state.clamp_(min=0.0) if clip == "nonnegative" else state.clamp_(*bounds)


def _stick(
    card: Card,
    states: tuple[Tensor, ...],
    draw: Draw,
    bounds: tuple[float, float],
    stuck: tuple[float, float] | None,
) -> None:
    """Set stuck cells to the ends of the window, in place; they carry neither error nor drift."""
    if stuck is None:
        stuck = (card.stuck.low, card.stuck.high) if card.stuck is not None else (0.0, 0.0)
    low, high = stuck
    require_finite("the fraction of cells stuck low", low, high=1.0)
    require_finite("the fraction of cells stuck high", high, high=1.0)
    if low + high > 1:
        raise InputError(f"the fractions of stuck cells must not exceed 1 together, got {low:g} and {high:g}.")
    if low + high == 0:
        return
    u = draw("stuck", states[0])
    for state in states:
        if high > 0:
            state.masked_fill_(u >= 1.0 - high, bounds[1])
        if low > 0:
            state.masked_fill_(u < low, bounds[0])
