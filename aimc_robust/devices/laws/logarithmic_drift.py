"""Drift by the logarithm of time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from aimc_robust.devices.cells import Draw, ProgrammedCells
from aimc_robust.devices.laws.base import DriftLaw, Number

if TYPE_CHECKING:
    from torch import Tensor


class LogarithmicDrift(DriftLaw):
    """state(t) = programmed + mean_ln * ln(t) + (std_ln * ln(t) + std_offset) * eta for t > 0.

    Attributes:
        mean_ln: Mean shift per factor e of time, in the card's unit.
        std_ln: Standard deviation per factor e of time, in the card's unit.
        std_offset: Standard deviation at 1 s, in the card's unit.
    """

    formula: ClassVar[str] = (
        "state(t) = programmed + mean_ln * ln(t) + (std_ln * ln(t) + std_offset) * eta for t > 0, in the card's unit."
        "\n\neta is standard normal, one per device and programming. t is floored at 1 s; the standard deviation at 0."
    )

    kind: Literal["logarithmic"]
    mean_ln: Number
    std_ln: Number
    std_offset: Number

    def age(self, cells: ProgrammedCells, draw: Draw, time_s: float) -> Tensor:
        """Return the states at `time_s`; see `DriftLaw.age`."""
        eta = draw("drift", cells.target)
        t_ln = math.log(max(time_s, 1.0))
        std = max(self.std_ln * t_ln + self.std_offset, 0.0)
        return eta.mul(std).add_(self.mean_ln * t_ln).add_(cells.programmed)
