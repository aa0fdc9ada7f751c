"""Data types shared by device models: the states of cells and the source of their random numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

Clip = Literal["nonnegative", "window"]
"""Where a state is cut off: below 0 only, or at both ends of a window."""

Distribution = Literal["normal", "uniform", "empirical"]
"""The shape of the programming error. Only a normal one is drawn from normal random numbers, see `Draw`."""

Draw: TypeAlias = "Callable[[str, Tensor], Tensor]"
"""draw(effect, like) -> random numbers of the shape, dtype and device of `like`, the same for the same effect.

`like` has the targets' shape.

The effects "programming", "device" and "drift" are standard normal, "programming-uniform" and "stuck" uniform on
[0, 1)."""


class CellStates(NamedTuple):
    """States of the same cells right after programming and `now`, of the targets' shape and in the device's unit.

    Both are the same tensor where nothing drifts.
    """

    programmed: Tensor
    now: Tensor


class ProgrammedCells(NamedTuple):
    """Programmed cells that a drift law ages. All tensors have the targets' shape.

    Attributes:
        target: Target states, in the device's unit.
        programmed: States right after programming, in the device's unit.
        error: Programming error of each cell in units of its standard deviation, times `error_scale` of the crossbar.
        removed_std: Standard deviation of the programming error if that error is switched off, else None. A drift law
            that states the whole width of the distribution subtracts it.
    """

    target: Tensor
    programmed: Tensor
    error: Tensor
    removed_std: Tensor | None = None


def standard_error(distribution: Distribution, target: Tensor, draw: Draw) -> Tensor:
    """Draw normal or uniform errors with mean 0 and standard deviation 1, one for each target."""
    if distribution == "normal":
        return draw("programming", target)
    return draw("programming-uniform", target).sub(0.5).mul_(math.sqrt(12.0))


def share_with_device(draw: Draw, share: float) -> Draw:
    """Compose the programming error of a part that stays with the device and one of each programming.

    `share` is the first part's share of the variance, drawn for the effect "device". Normal scores are added, so that
    the distribution stays as it is.
    """
    if share == 0.0:
        return draw

    def draw_both(effect: str, like: Tensor) -> Tensor:
        if effect not in ("programming", "programming-uniform"):
            return draw(effect, like)
        cycle = draw("programming", like).mul(math.sqrt(1.0 - share))
        scores = cycle.add_(draw("device", like), alpha=math.sqrt(share))
        return scores if effect == "programming" else scores.mul_(math.sqrt(0.5)).erf_().add_(1.0).mul_(0.5)

    return draw_both


def spread_(std: Tensor, center: Tensor, error: Tensor, error_scale: float = 1.0) -> Tensor:
    """Compute center + error_scale * std * error, all of one shape, in place of `std`, and return it."""
    if error_scale != 1.0:
        std.mul_(error_scale)
    return std.mul_(error).add_(center)


def clip_(state: Tensor, clip: Clip, bounds: tuple[float, float]) -> Tensor:
    """Clip `state` in place, below at 0 or to the `bounds` of a window, and return it."""
    return state.clamp_(min=0.0) if clip == "nonnegative" else state.clamp_(*bounds)
