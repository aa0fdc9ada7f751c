"""The schema of a device card. A card is data; adding a device means adding a file."""

import re
from typing import Annotated, Literal

import pydantic

from aimc_robust.devices.laws import Drift, Programming, Read, Stuck
from aimc_robust.io.toml import StrictModel

# The unit in which a card states its quantities, by the kind of state that the device stores.
UNITS = {"conductance": "uS", "current": "nA", "relative": "1"}


class Source(StrictModel):
    """Where the card's numbers come from."""

    citation: str = pydantic.Field(min_length=10)
    doi: str | None = None
    figure: str | None = None
    fit: str = ""
    note: str = ""

    @pydantic.field_validator("doi")
    @classmethod
    def _is_doi(cls, doi: str | None) -> str | None:
        if doi is not None and not re.fullmatch(r"10\.\d{4,9}/\S+", doi):
            raise ValueError(f"expected a DOI such as 10.1038/s41586-022-04992-8, got {doi!r}")
        return doi


class Range(StrictModel):
    """The programming window used by default, and the limits within which the card's fit holds, in the card's unit."""

    min: float = pydantic.Field(ge=0)
    max: float = pydantic.Field(gt=0)
    limits: Annotated[tuple[float, float], pydantic.Field(strict=False)]  # TOML has arrays only

    @pydantic.model_validator(mode="after")
    def _ordered(self) -> "Range":
        if not self.min < self.max:
            raise ValueError(f"expected min < max, got min = {self.min:g} and max = {self.max:g}")
        low, high = self.limits
        if not 0 <= low <= self.min < self.max <= high:
            raise ValueError(
                f"expected 0 <= limits[0] <= min < max <= limits[1], got limits = [{low:g}, {high:g}] and a window "
                f"of {self.min:g} to {self.max:g}"
            )
        return self


class Card(StrictModel):
    """One memory device: its window, its error of programming, how it ages, its read noise, and the source of all.

    A table that is absent says that the device has no such effect, or that its source gives none: see the note.
    """

    name: str = pydantic.Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    technology: str
    state: Literal["conductance", "current", "relative"]
    unit: str
    source: Source
    range: Range
    programming: Programming
    drift: Drift | None = None
    read: Read | None = None
    stuck: Stuck | None = None

    @pydantic.model_validator(mode="after")
    def _unit_of_state(self) -> "Card":
        if self.unit != UNITS[self.state]:
            raise ValueError(
                f"unit: a {self.state} is stated in {UNITS[self.state]!r}, got {self.unit!r} (allowed: "
                + ", ".join(f"{unit!r} for {state}" for state, unit in UNITS.items())
                + ")"
            )
        return self
