"""A standard deviation that grows with the state and saturates."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Self

from aimc_robust.devices.laws.base import Nonnegative, Positive, ProgrammingLaw, StdLaw

if TYPE_CHECKING:
    from torch import Tensor

SMALLEST_CONSTANT = 1e-6
"""An extrapolated constant stays above this [card.unit]: the curve is then a step."""


class SaturatingExponential(StdLaw):
    """sigma(state) = amplitude * (1 - exp(-state / constant)).

    Attributes:
        amplitude: The limit for large states, in the card's unit.
        constant: The state at which 63 % of it are reached, in the card's unit.
    """

    formula: ClassVar[str] = "sigma(state) = amplitude * (1 - exp(-state / constant)), all in the card's unit."

    kind: Literal["saturating-exponential"]
    amplitude: Nonnegative
    constant: Positive

    def std(self, state: Tensor) -> Tensor:
        """Return the standard deviation at `state`; see `StdLaw.std`."""
        return state.div(-self.constant).expm1_().mul_(-self.amplitude).clamp_(min=0.0)

    def interpolate(self, other: Self, fraction: float) -> Self:
        """Interpolate both parameters; see `StdLaw.interpolate`."""
        constant = (1.0 - fraction) * self.constant + fraction * other.constant
        amplitude = (1.0 - fraction) * self.amplitude + fraction * other.amplitude
        return self.model_copy(update={"amplitude": amplitude, "constant": max(constant, SMALLEST_CONSTANT)})


class SaturatingProgramming(SaturatingExponential, ProgrammingLaw):
    """A programming error whose standard deviation saturates with the target."""
