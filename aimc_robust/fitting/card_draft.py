"""A card under construction: its fitted drift, and what is known before its drift and source are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from aimc_robust.devices.card import Card
from aimc_robust.devices.cell_model import UNITS
from aimc_robust.devices.laws.base import DriftLaw
from aimc_robust.devices.laws.empirical import Empirical
from aimc_robust.devices.library import load_card
from aimc_robust.fitting.read_noise import ReadNoise
from aimc_robust.fitting.std_fit import FittedLaws
from aimc_robust.fitting.std_laws import rounded


class DriftFit(NamedTuple):
    """A fitted drift.

    Attributes:
        law: The drift law; None for no drift.
        programming: The law of the programming error that goes with it.
        parameters: Number of free parameters of the drift.
        time_zero_s: Time [s] of the measurements at which the card's time is 0.
        summary: One sentence on the fit.
        empirical: The law of the programming error in place of `programming`, if it is empirical.
    """

    law: DriftLaw | None
    programming: FittedLaws
    parameters: int
    time_zero_s: float
    summary: str
    empirical: Empirical | None = None


@dataclass(frozen=True, kw_only=True)
class CardDraft:
    """The parts of a fitted card that do not depend on its drift.

    `window` is (min, max) of the targets [unit]; `stuck` are the fractions (low, high) of stuck cells,
    `device_share` is the share of the programming error that stays with a device.
    """

    name: str
    technology: str
    unit: str
    window: tuple[float, float]
    read_noise: ReadNoise | None
    stuck: tuple[float, float]
    device_share: float = 0.0

    def card(self, drift: DriftFit, source: dict[str, str]) -> Card:
        """Build the card with a drift, the programming error that goes with it, and the table `source`."""
        low, high = rounded(self.window)
        stuck_low, stuck_high = rounded(self.stuck)
        return load_card(
            {
                "name": self.name,
                "technology": self.technology,
                "state": next(state for state, unit in UNITS.items() if unit == self.unit),
                "unit": self.unit,
                "range": {"min": low, "max": high, "limits": (low, high)},
                "read": self.read_noise.law.model_dump() if self.read_noise is not None else None,
                "stuck": {"low": stuck_low, "high": stuck_high} if any(self.stuck) else None,
                "source": source,
                "programming": (drift.empirical or drift.programming.laws[0]).model_dump()
                | {"device_share": rounded(self.device_share)},
                "drift": drift.law.model_dump() if drift.law is not None else None,
            }
        )
