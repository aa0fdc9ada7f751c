"""Cells that cannot be programmed."""

from __future__ import annotations

from typing import Annotated, ClassVar

import pydantic

from aimc_robust.devices.laws.base import Law


class Stuck(Law):
    """Fractions of cells that stay at an end of the window, whatever is programmed.

    Attributes:
        low: Fraction of cells at the low end.
        high: Fraction of cells at the high end.
    """

    formula: ClassVar[str] = (
        "The fractions of cells that stay at the low and at the high end of the window, whatever is programmed."
    )

    low: Annotated[float, pydantic.Field(ge=0, le=1)] = 0.0
    high: Annotated[float, pydantic.Field(ge=0, le=1)] = 0.0

    @pydantic.model_validator(mode="after")
    def _is_at_most_one(self) -> Stuck:
        if self.low + self.high > 1:
            raise ValueError(f"expected low + high <= 1, got {self.low:g} + {self.high:g}")
        return self
