"""The schema of a device card. A card is data; adding a device means adding a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import pydantic

from aimc_robust.devices.cell_model import NAME, RESERVED_NAME, UNITS, CellModel, Source
from aimc_robust.devices.cells import CellStates, Draw, ProgrammedCells
from aimc_robust.devices.laws.base import Nonnegative, Pair, Positive
from aimc_robust.devices.laws.registry import Drift, Programming, Read
from aimc_robust.devices.laws.stuck import Stuck
from aimc_robust.io.toml import StrictModel

if TYPE_CHECKING:
    from torch import Tensor


class Range(StrictModel):
    """The programming window and the states for which the card is valid, in the card's unit.

    Attributes:
        min: Lowest target state used by default.
        max: Highest target state used by default.
        limits: (low, high) states between which the card's fit is valid.
    """

    min: Nonnegative
    max: Positive
    limits: Pair

    @pydantic.model_validator(mode="after")
    def _is_ordered(self) -> Range:
        low, high = self.limits
        if not 0 <= low <= self.min < self.max <= high:
            raise ValueError(
                f"expected 0 <= limits[0] <= min < max <= limits[1], got limits = [{low:g}, {high:g}] and a window "
                f"of {self.min:g} to {self.max:g}"
            )
        return self


def _of_law(name: str, table: str, key: str, *, absent: Any = None) -> Any:
    """The property `name` of `CellModel` as a card has it: a key of the law in one of its tables."""

    def value(card: Card) -> Any:
        law = getattr(card, table)
        return absent if law is None else getattr(law, key)

    return property(value, doc=getattr(CellModel, name).__doc__)


class Card(StrictModel, CellModel):
    """A memory device described by a TOML file.

    A table that is absent means that the device has no such effect, or that its source does not state one; see the
    source's note.

    Attributes:
        name: Lower-case letters, digits and hyphens; not `digital`.
        technology: One line on the technology.
        state: What a cell stores: `conductance`, `current` or `relative`.
        unit: Unit of all states: `uS`, `nA` or `1`, by `state`.
        source: Where the numbers come from.
        range: Programming window and limits.
        programming: Law of the programming error.
        drift: Law of the drift.
        read: Law of the read noise.
        stuck: Fractions of stuck cells.
        read_voltage_v: Voltage [V] at which currents are stated, for a `current`.
    """

    checks_results: ClassVar[bool] = False

    name: str = pydantic.Field(pattern=f"^{NAME}$", json_schema_extra={"not": {"const": RESERVED_NAME}})
    technology: str
    state: Literal["conductance", "current", "relative"]
    unit: str
    source: Source
    range: Range
    programming: Programming
    drift: Drift | None = None
    read: Read | None = None
    stuck: Stuck | None = None
    read_voltage_v: Positive | None = None

    @pydantic.model_validator(mode="after")
    def _name_is_free(self) -> Card:
        if self.name == RESERVED_NAME:
            raise ValueError(f"name: {RESERVED_NAME!r} is reserved for exact weights; give the device another name")
        return self

    @pydantic.model_validator(mode="after")
    def _unit_fits_state(self) -> Card:
        if self.unit != UNITS[self.state]:
            raise ValueError(
                f"unit: a {self.state} is stated in {UNITS[self.state]!r}, got {self.unit!r} (allowed: "
                + ", ".join(f"{unit!r} for {state}" for state, unit in UNITS.items())
                + ")"
            )
        if self.read_voltage_v is not None and self.state != "current":
            raise ValueError(f"read_voltage_v: only a current is stated at a voltage, not a {self.state} state")
        return self

    def resistance_ohm(self, state: float) -> float | None:
        """Return the resistance of a cell in a state; see `CellModel.resistance_ohm`."""
        return super().resistance_ohm(state) if self.read_voltage_v is None else self.read_voltage_v * 1e9 / state

    def programming_std(self, target: Tensor) -> Tensor:
        """Return the standard deviation of the programmed state; see `CellModel.programming_std`."""
        return self.programming.std(target)

    def programming_error(self, target: Tensor, draw: Draw) -> Tensor:
        """Return the programming error in units of its standard deviation; see `CellModel.programming_error`."""
        return self.programming.error(target, draw)

    def age(self, cells: ProgrammedCells, draw: Draw, time_s: float) -> Tensor:
        """Return the states at a later time; see `CellModel.age`."""
        return cells.programmed if self.drift is None else self.drift.age(cells, draw, time_s)

    def read_std(self, states: CellStates, time_s: float) -> Tensor:
        """Return the standard deviation of one read; see `CellModel.read_std`."""
        return super().read_std(states, time_s) if self.read is None else self.read.read_std(states, time_s)

    @property
    def description(self) -> str:
        """The technology."""
        return self.technology

    @property
    def provenance(self) -> Source:
        """The card's source."""
        return self.source

    @property
    def window(self) -> tuple[float, float]:
        """(min, max) target states used for programming by default, in `unit`."""
        return self.range.min, self.range.max

    @property
    def limits(self) -> tuple[float, float]:
        """(low, high) states between which the fit is valid, in `unit`. A cell drifts within them."""
        return self.range.limits

    @property
    def stuck_fractions(self) -> tuple[float, float]:
        """Fractions of cells stuck at the low and at the high end of the window."""
        return (0.0, 0.0) if self.stuck is None else (self.stuck.low, self.stuck.high)

    @property
    def has_drift(self) -> bool:
        """Whether the card has a drift table."""
        return self.drift is not None

    @property
    def has_read_noise(self) -> bool:
        """Whether the card has a table of read noise."""
        return self.read is not None

    has_programming_error = _of_law("has_programming_error", "programming", "has_error")
    programming_distribution = _of_law("programming_distribution", "programming", "distribution")
    programming_knots = _of_law("programming_knots", "programming", "knots")
    programming_device_share = _of_law("programming_device_share", "programming", "device_share")
    programming_clip = _of_law("programming_clip", "programming", "clip")
    drift_is_random = _of_law("drift_is_random", "drift", "is_random", absent=False)
    drift_uses_programmed = _of_law("drift_uses_programmed", "drift", "uses_programmed", absent=True)
    drift_starts_s = _of_law("drift_starts_s", "drift", "starts_s", absent=0.0)
    drift_limits_s = _of_law("drift_limits_s", "drift", "limits_s")
    drift_state_limits = _of_law("drift_state_limits", "drift", "state_limits")
    drift_clip = _of_law("drift_clip", "drift", "clip", absent="nonnegative")
    read_noise_depends_on_time = _of_law("read_noise_depends_on_time", "read", "depends_on_time", absent=False)
