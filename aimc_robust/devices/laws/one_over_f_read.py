"""1/f read noise, integrated over the bandwidth of a read."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from aimc_robust.devices.cells import CellStates
from aimc_robust.devices.laws.base import Nonnegative, Positive, ReadLaw
from aimc_robust.devices.laws.clipped_log import ClippedLog

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
    depends_on_time: ClassVar[bool] = True

    def read_std(self, states: CellStates, time_s: float) -> Tensor:
        """Return the standard deviation of one read; see `ReadLaw.read_std`."""
        growth = _growth(time_s + self.t0_s, self.t_read_s)
        relative = states.programmed.div(self.reference).pow_(-self.exponent).mul_(self.q).clamp_(max=self.q_max)
        return relative.mul_(states.now).mul_(growth).clamp_(min=0.0)


class ClippedLogOneOverFRead(ReadLaw):
    """sigma = now * strength(x) * sqrt(ln((t + t_read_s) / (2 t_read_s))), x = programmed / reference, at least 0.

    Attributes:
        strength: Relative strength over x.
        reference: State by which programmed states are divided, in the card's unit.
        t_read_s: Duration of one read [s].
        t0_s: Seconds from the programming pulse to time 0.
    """

    formula: ClassVar[str] = (
        "sigma = now * strength(x) * sqrt(ln((t + t_read_s) / (2 t_read_s))), x = programmed / reference, at least 0."
        "\n\nt = time + t0_s: from the programming pulse to the read."
    )

    kind: Literal["clipped-log-one-over-f"]
    strength: ClippedLog
    reference: Positive
    t_read_s: Positive
    t0_s: Nonnegative = 0.0
    depends_on_time: ClassVar[bool] = True

    def read_std(self, states: CellStates, time_s: float) -> Tensor:
        """Return the standard deviation of one read; see `ReadLaw.read_std`."""
        import torch

        x = states.programmed.div(self.reference).clamp_(min=torch.finfo(states.now.dtype).tiny)
        growth = _growth(time_s + self.t0_s, self.t_read_s)
        return self.strength.value_(x.log(), x).mul_(states.now).mul_(growth).clamp_(min=0.0)


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
    depends_on_time: ClassVar[bool] = True

    def read_std(self, states: CellStates, time_s: float) -> Tensor:
        """Return the standard deviation of one read; see `ReadLaw.read_std`."""
        growth = _growth(time_s + self.t0_s, self.t_read_s)
        # log10(0) * 0 would be NaN, so the lower bound is applied first.
        return states.now.log10().clamp_(min=0.0).mul_(self.coefficient * growth)


def _growth(time_s: float, t_read_s: float) -> float:
    """Return sqrt(ln((t + t_read) / (2 t_read))), 0 if the time is shorter than one read."""
    return math.sqrt(max(math.log((time_s + t_read_s) / (2.0 * t_read_s)), 0.0))
