"""Drift by a power law of time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from aimc_robust.devices.cells import Draw, ProgrammedCells
from aimc_robust.devices.laws.base import DriftLaw, Positive
from aimc_robust.devices.laws.clipped_log import ClippedLog

if TYPE_CHECKING:
    from torch import Tensor


class PowerLawDrift(DriftLaw):
    """state(t) = programmed * ((t + t0_s) / t0_s)**-nu, nu = |mean(x) + std(x) * eta|, x = target / reference.

    Attributes:
        t0_s: Seconds from the programming pulse to time 0.
        reference: State by which targets are divided, in the card's unit.
        exponent_mean: Mean of nu before its absolute value is taken.
        exponent_std: Standard deviation of the same.
    """

    formula: ClassVar[str] = (
        "state(t) = programmed * ((t + t0_s) / t0_s)**-nu, nu = |mean(x) + std(x) * eta|, x = target / reference.\n\n"
        "eta is standard normal, one per device and programming. Time counts from when the programming error holds, "
        "t0_s after the programming pulse."
    )

    kind: Literal["power-law"]
    t0_s: Positive
    reference: Positive
    exponent_mean: ClippedLog
    exponent_std: ClippedLog

    def age(self, cells: ProgrammedCells, draw: Draw, time_s: float) -> Tensor:
        """Return the states at `time_s`; see `DriftLaw.age`."""
        import torch

        eta = draw("drift", cells.target)
        x = cells.target.div(self.reference).clamp_(min=torch.finfo(cells.target.dtype).tiny)
        x_ln = x.log()
        mean = self.exponent_mean.value_(x_ln.clone(), x)
        nu = self.exponent_std.value_(x_ln, x).mul_(eta).add_(mean).abs_()
        return nu.mul_(-math.log1p(time_s / self.t0_s)).exp_().mul_(cells.programmed)
