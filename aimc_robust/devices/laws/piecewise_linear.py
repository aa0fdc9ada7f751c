"""A standard deviation that is tabulated over the state, with steps and dead zones."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

import pydantic

from aimc_robust.devices.laws.base import Nonnegative, ProgrammingLaw, StdLaw
from aimc_robust.devices.laws.interpolation import position

if TYPE_CHECKING:
    from torch import Tensor

MAX_NODES = 256
Nodes = Annotated[tuple[Nonnegative, ...], pydantic.Field(strict=False, min_length=2, max_length=MAX_NODES)]


class PiecewiseLinear(StdLaw):
    """sigma(state): linear between the nodes (states[i], stds[i]), constant beyond the first and the last.

    Between nodes with a standard deviation of 0 there is no error: a dead zone. A state that is given twice is a step,
    at which the second value holds.

    Attributes:
        states: States of the nodes, rising, in the card's unit.
        stds: Standard deviations at them, in the card's unit.
    """

    formula: ClassVar[str] = (
        "sigma(state): linear between the nodes (states[i], stds[i]), constant beyond the first and the last, in the "
        "card's unit.\n\nA state that is given twice is a step, at which the second value holds."
    )

    kind: Literal["piecewise-linear"]
    states: Nodes
    stds: Nodes

    @pydantic.model_validator(mode="after")
    def _is_a_table(self) -> Self:
        if len(self.states) != len(self.stds):
            raise ValueError(f"expected one of stds for each of states, got {len(self.stds)} and {len(self.states)}")
        steps = [b - a for a, b in itertools.pairwise(self.states)]
        doubled = any(a == b == 0 for a, b in itertools.pairwise(steps))
        if min(steps) < 0 or steps[0] == 0 or steps[-1] == 0 or doubled:
            raise ValueError(
                f"states: expected to rise, an inner one at most twice, got {', '.join(f'{s:g}' for s in self.states)}"
            )
        return self

    def std(self, state: Tensor) -> Tensor:
        """Return the standard deviation at `state`; see `StdLaw.std`."""
        below, fraction = position(self.states, state)
        stds = state.new_tensor(self.stds)
        return stds[below].lerp_(stds[below + 1], fraction)

    def interpolate(self, other: Self, fraction: float) -> Self:
        """Interpolate the standard deviations, at least 0; see `StdLaw.interpolate`."""
        pairs = zip(self.stds, other.stds, strict=True)
        return self.model_copy(update={"stds": tuple(max((1.0 - fraction) * a + fraction * b, 0.0) for a, b in pairs)})


class PiecewiseLinearProgramming(PiecewiseLinear, ProgrammingLaw):
    """A programming error whose standard deviation is tabulated over the target."""
