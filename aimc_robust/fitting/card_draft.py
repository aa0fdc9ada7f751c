"""A card under construction: what is known before its drift and source are."""

from __future__ import annotations

from dataclasses import dataclass

from aimc_robust.devices.card import Card
from aimc_robust.devices.cell_model import UNITS
from aimc_robust.devices.library import load_card
from aimc_robust.fitting.drift_fit import DriftFit
from aimc_robust.fitting.read_noise import ReadNoise
from aimc_robust.fitting.rounding import round_number


@dataclass(frozen=True, kw_only=True)
class CardDraft:
    """The parts of a fitted card that do not depend on its drift.

    Attributes:
        name: Name of the card.
        technology: One line on the technology.
        unit: Unit of states.
        window: (min, max) target of the measurements [unit].
        read_noise: Fitted read noise.
        stuck: Fractions (low, high) of stuck cells.
    """

    name: str
    technology: str
    unit: str
    window: tuple[float, float]
    read_noise: ReadNoise | None
    stuck: tuple[float, float]

    def card(self, drift: DriftFit, source: dict[str, str]) -> Card:
        """Build the card.

        Args:
            drift: The fitted drift and the programming error that goes with it.
            source: The card's `source` table.
        """
        low, high = (round_number(float(end)) for end in self.window)
        stuck = {"low": round_number(self.stuck[0]), "high": round_number(self.stuck[1])}
        return load_card(
            {
                "name": self.name,
                "technology": self.technology,
                "state": next(state for state, unit in UNITS.items() if unit == self.unit),
                "unit": self.unit,
                "range": {"min": low, "max": high, "limits": (low, high)},
                "read": self.read_noise.law.model_dump() if self.read_noise is not None else None,
                "stuck": stuck if any(self.stuck) else None,
                "source": source,
                "programming": drift.programming.laws[0].model_dump(),
                "drift": drift.law.model_dump() if drift.law is not None else None,
            }
        )
