"""What a law of each kind must implement.

A new law is one class in one file of this folder, listed in `devices.laws.registry`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

import pydantic

from aimc_robust.devices.cells import CellStates, Clip, Draw, ProgrammedCells, standard_error
from aimc_robust.io.toml import StrictModel

if TYPE_CHECKING:
    from torch import Tensor

LARGEST = 1e30  # of a number in a card: far from every device, and far from what float32 holds
Number = Annotated[float, pydantic.Field(ge=-LARGEST, le=LARGEST)]
Numbers = tuple[Number, ...]
Pair = Annotated[tuple[Number, Number], pydantic.Field(strict=False)]  # TOML has arrays only
Positive = Annotated[float, pydantic.Field(ge=1 / LARGEST, le=LARGEST)]
Nonnegative = Annotated[float, pydantic.Field(ge=0, le=LARGEST)]


class Law(StrictModel, ABC):
    """One table of a card: its keys are the fields, its methods compute the effect.

    Attributes:
        formula: The law in words and symbols, as `aimc-robust devices` prints it.
    """

    formula: ClassVar[str]


class ReadLaw(Law):
    """Read noise: Gaussian, independent from read to read.

    Attributes:
        depends_on_time: Whether the noise depends on the time beyond the present state.
    """

    depends_on_time: ClassVar[bool] = False

    @abstractmethod
    def read_std(self, states: CellStates, time_s: float) -> Tensor:
        """Return the standard deviation of one read, a new tensor; see `CellModel.read_std`."""


class StdLaw(ReadLaw):
    """A standard deviation as a function of the state. As read noise it acts on the present state."""

    @abstractmethod
    def std(self, state: Tensor) -> Tensor:
        """Return the standard deviation, a new tensor, at states of any shape; both in the card's unit, at least 0."""

    @abstractmethod
    def interpolate(self, other: Self, fraction: float) -> Self:
        """Return the law whose parameters are (1 - fraction) times these plus fraction times those of `other`.

        A `fraction` outside 0 to 1 extrapolates. Other keys, such as a reference, are the same in both laws.
        """

    def read_std(self, states: CellStates, time_s: float) -> Tensor:
        """Return the standard deviation at the present state; see `ReadLaw.read_std`."""
        return self.std(states.now)


class ProgrammingLaw(Law):
    """The programming error: state = target + std(target) * xi, xi of standard deviation 1, and mean 0 but for a table.

    Attributes:
        clip: Whether a programmed state is clipped at 0 only, or to the programming window.
        distribution: Shape of xi.
        device_share: Share of the error's variance that stays with a device when its chip is programmed again.
        has_error: Whether programming has a random error.
    """

    clip: Clip = "nonnegative"
    distribution: Literal["normal", "uniform"] = "normal"
    device_share: Annotated[float, pydantic.Field(ge=0, le=1)] = 0.0
    has_error: ClassVar[bool] = True

    @abstractmethod
    def std(self, state: Tensor) -> Tensor:
        """Return the standard deviation, a new tensor, around targets of any shape; both in the card's unit."""

    @property
    def knots(self) -> tuple[float, ...]:
        """Probabilities between which the quantiles of an error that is not normal are smooth, from 0 to 1."""
        return 0.0, 1.0

    def error(self, target: Tensor, draw: Draw) -> Tensor:
        """Return xi, the error in units of its standard deviation; see `CellModel.programming_error`."""
        return standard_error(self.distribution, target, draw)


class DriftLaw(Law):
    """How states change after programming.

    Attributes:
        limits_s: (first, last) times [s] between which the law is valid.
        state_limits: (low, high) target states between which it is valid, in the card's unit; None: the card's limits.
        clip: Whether a drifted state is clipped at 0 only, or to the card's limits.
        is_random: Whether `age` draws random numbers of its own.
        uses_programmed: Whether `age` uses the programmed states, besides targets and errors.
    """

    limits_s: Pair
    state_limits: Pair | None = None
    clip: Clip = "nonnegative"
    is_random: ClassVar[bool] = True
    uses_programmed: ClassVar[bool] = True

    @pydantic.field_validator("limits_s", "state_limits")
    @classmethod
    def _is_ordered(cls, limits: tuple[float, float] | None) -> tuple[float, float] | None:
        if limits is not None and not 0 <= limits[0] < limits[1]:
            raise ValueError(f"expected [low, high] with 0 <= low < high, got [{limits[0]:g}, {limits[1]:g}]")
        return limits

    @property
    def starts_s(self) -> float:
        """Time [s] up to which nothing drifts."""
        return 0.0

    @abstractmethod
    def age(self, cells: ProgrammedCells, draw: Draw, time_s: float) -> Tensor:
        """Return the states at a later time, above `starts_s`, in a new tensor; see `CellModel.age`."""
