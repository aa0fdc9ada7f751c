"""1/f read noise whose relative strength is a power of the programmed state."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from aimc_robust.devices.cells import CellStates
from aimc_robust.devices.laws.base import Nonnegative, Positive, ReadLaw

if TYPE_CHECKING:
    from torch import Tensor


class OneOverFRead(ReadLaw):
    """sigma = now * min(q_max, q * (programmed / reference)**-exponent) * sqrt(ln((t + t_read_s) / (2 t_read_s))).

    Attributes:
        q: Relative strength at the reference state.
        exponent: Power of the programmed state with which it falls.
        q_max: Upper bound of the relative strength.
        reference: State by which programmed states are divided, in the card's unit.
        t_read_s: Duration of one read [s].
        t0_s: Seconds from the programming pulse to time 0.
    """

    formula: ClassVar[str] = (
        "sigma = now * min(q_max, q * (programmed / reference)**-exponent) * sqrt(ln((t + t_read_s) / (2 t_read_s))).\n"
        "\nt = time + t0_s: from the programming pulse to the read. 1/f noise, integrated over the bandwidth of a read."
    )

    kind: Literal["one-over-f"]
    q: Positive
    exponent: Nonnegative
    q_max: Positive
    reference: Positive
    t_read_s: Positive
    t0_s: Nonnegative = 0.0

    @property
    def depends_on_time(self) -> bool:
        """True: the longer the time since programming, the wider the band of the noise."""
        return True

    def read_std(self, states: CellStates, time_s: float) -> Tensor:
        """Return the standard deviation of one read; see `ReadLaw.read_std`."""
        growth = one_over_f_growth(time_s + self.t0_s, self.t_read_s)
        relative = states.programmed.div(self.reference).pow_(-self.exponent).mul_(self.q).clamp_(max=self.q_max)
        return relative.mul_(states.now).mul_(growth).clamp_(min=0.0)


def one_over_f_growth(time_s: float, t_read_s: float) -> float:
    """Return sqrt(ln((t + t_read) / (2 t_read))), 0 if the time is shorter than one read."""
    return math.sqrt(max(math.log((time_s + t_read_s) / (2.0 * t_read_s)), 0.0))
