"""1/f read noise that is proportional to the logarithm of the present state."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from aimc_robust.devices.cells import CellStates
from aimc_robust.devices.laws.base import Nonnegative, Positive, ReadLaw
from aimc_robust.devices.laws.one_over_f_read import one_over_f_growth

if TYPE_CHECKING:
    from torch import Tensor


class Log10OneOverFRead(ReadLaw):
    """sigma = coefficient * log10(now) * sqrt(ln((t + t_read_s) / (2 t_read_s))), at least 0.

    Attributes:
        coefficient: Strength, in the card's unit.
        t_read_s: Duration of one read [s].
        t0_s: Seconds from the programming pulse to time 0.
    """

    formula: ClassVar[str] = (
        "sigma = coefficient * log10(now) * sqrt(ln((t + t_read_s) / (2 t_read_s))), in the card's unit, at least 0."
        "\n\nt = time + t0_s; now counts in the card's unit."
    )

    kind: Literal["log10-one-over-f"]
    coefficient: Nonnegative
    t_read_s: Positive
    t0_s: Nonnegative = 0.0

    @property
    def depends_on_time(self) -> bool:
        """True: the longer the time since programming, the wider the band of the noise."""
        return True

    def read_std(self, states: CellStates, time_s: float) -> Tensor:
        """Return the standard deviation of one read; see `ReadLaw.read_std`."""
        growth = one_over_f_growth(time_s + self.t0_s, self.t_read_s)
        # log10(0) * 0 would be NaN, so the lower bound is applied first.
        return states.now.log10().clamp_(min=0.0).mul_(self.coefficient * growth)
