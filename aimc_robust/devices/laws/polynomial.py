"""A standard deviation that is a polynomial of the state."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

import pydantic

from aimc_robust.devices.laws.base import LARGEST, Numbers, Positive, ProgrammingLaw, StdLaw

if TYPE_CHECKING:
    from torch import Tensor


class Polynomial(StdLaw):
    """sigma(state) = sum_i coefficients[i] * (state / reference)**i, at least 0.

    Attributes:
        coefficients: In ascending powers, in the card's unit.
        reference: State by which states are divided, in the card's unit.
    """

    formula: ClassVar[str] = "sigma(state) = sum_i coefficients[i] * (state / reference)**i, in the card's unit."

    kind: Literal["polynomial"]
    coefficients: Annotated[Numbers, pydantic.Field(strict=False, min_length=1, max_length=12)]
    reference: Positive = 1.0

    @pydantic.model_validator(mode="after")
    def _finite(self) -> Self:
        powers = [self.reference**power for power in range(len(self.coefficients))]
        if 0.0 in powers or any(abs(c / p) > LARGEST for c, p in zip(self.coefficients, powers, strict=True)):
            raise ValueError(
                f"coefficients[i] / reference**i must be at most {LARGEST:g}, got a reference of {self.reference:g}"
            )
        return self

    def std(self, state: Tensor) -> Tensor:
        """Return the standard deviation at `state`; see `StdLaw.std`."""
        coefficients = [c / self.reference**power for power, c in enumerate(self.coefficients)]
        return polynomial(coefficients, state).clamp_(min=0.0)

    def interpolate(self, other: Self, fraction: float) -> Self:
        """Interpolate the coefficients; see `StdLaw.interpolate`."""
        return self.model_copy(
            update={"coefficients": mixed_coefficients(self.coefficients, other.coefficients, fraction)}
        )


class PolynomialProgramming(Polynomial, ProgrammingLaw):
    """A programming error whose standard deviation is a polynomial of the target."""


def polynomial(coefficients: Sequence[float], state: Tensor) -> Tensor:
    """Evaluate sum_i coefficients[i] * state**i by Horner's rule into one new tensor."""
    import torch

    if len(coefficients) == 1:
        return torch.full_like(state, coefficients[0])
    value = state.mul(coefficients[-1]).add_(coefficients[-2])
    for coefficient in reversed(coefficients[:-2]):
        value.mul_(state).add_(coefficient)
    return value


def mixed_coefficients(a: Sequence[float], b: Sequence[float], fraction: float) -> tuple[float, ...]:
    """Return (1 - fraction) * a + fraction * b for each coefficient; the shorter list is padded with zeros."""
    return tuple((1.0 - fraction) * x + fraction * y for x, y in zip_longest(a, b, fillvalue=0.0))
