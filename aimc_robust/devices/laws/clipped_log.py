"""A number without unit that falls or grows with the logarithm of the state between two bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import pydantic

from aimc_robust.devices.laws.base import Nonnegative, Number, Numbers, Positive
from aimc_robust.devices.laws.polynomial import polynomial
from aimc_robust.io.toml import StrictModel

if TYPE_CHECKING:
    from torch import Tensor


class ClippedLog(StrictModel):
    """clip(slope_ln * ln(x) + offset, min, max); from `polynomial_from` on sum_i polynomial[i] * x**i; without unit.

    Attributes:
        slope_ln: Slope over ln(x).
        offset: Value at x = 1 before clipping.
        min: Lower bound.
        max: Upper bound.
        polynomial_from: x from which the polynomial holds instead; None: nowhere.
        polynomial: Its coefficients, in ascending powers of x.
    """

    slope_ln: Number
    offset: Number
    min: Nonnegative
    max: Nonnegative
    polynomial_from: Positive | None = None
    polynomial: Annotated[Numbers, pydantic.Field(strict=False, max_length=12)] = ()

    @pydantic.model_validator(mode="after")
    def _is_whole(self) -> ClippedLog:
        if self.min > self.max:
            raise ValueError(f"expected min <= max, got min = {self.min:g} and max = {self.max:g}")
        if (self.polynomial_from is None) != (not self.polynomial):
            raise ValueError("expected polynomial_from and polynomial together, got one of them")
        return self

    def value_(self, x_ln: Tensor, x: Tensor) -> Tensor:
        """Evaluate at x, of which `x_ln` is the logarithm, in place of `x_ln`."""
        value = x_ln.mul_(self.slope_ln).add_(self.offset).clamp_(self.min, self.max)
        if self.polynomial_from is None:
            return value
        return value.where(x < self.polynomial_from, polynomial(self.polynomial, x))
