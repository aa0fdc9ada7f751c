"""The result of fitting a drift law."""

from __future__ import annotations

from typing import NamedTuple

from aimc_robust.devices.laws.base import DriftLaw
from aimc_robust.fitting.std_fit import FittedLaws


class DriftFit(NamedTuple):
    """A fitted drift.

    Attributes:
        law: The drift law; None for no drift.
        programming: The law of the programming error that goes with it.
        parameters: Number of free parameters of the drift.
        time_zero_s: Time [s] of the measurements at which the card's time is 0.
        summary: One sentence on the fit.
    """

    law: DriftLaw | None
    programming: FittedLaws
    parameters: int
    time_zero_s: float
    summary: str
