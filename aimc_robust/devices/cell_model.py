"""The interface of a memory device. A device card implements it, and so can a class of your own."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

import pydantic

from aimc_robust.devices.cells import CellStates, Clip, Distribution, Draw, ProgrammedCells, standard_error
from aimc_robust.io.toml import StrictModel

if TYPE_CHECKING:
    from torch import Tensor

# State kind of a device -> the unit in which it is stated.
UNITS = {"conductance": "uS", "current": "nA", "relative": "1"}
NAME = r"[a-z0-9]+(-[a-z0-9]+)*"  # pattern of a device name
RESERVED_NAME = "digital"  # of exact weights, as a target and as a place of layers

LONGEST_S = 3.2e9  # About 100 years. A longer time is most likely in another unit.


class Source(StrictModel):
    """Where the numbers of a device come from.

    Attributes:
        citation: Publication, data set or definition, at least 10 characters.
        doi: DOI of the publication.
        figure: Figure or table of the publication.
        fit: How the laws were fitted.
        note: What to know before use.
    """

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


class CellModel(ABC):
    """A memory device: the errors of programming, drift and reading of its cells.

    A `Card` is a cell model that is read from a file. A subclass in Python is accepted wherever a device is: as an
    object, or by its import path `package.module:name` in specs and on the command line.

    A subclass sets `name`, `unit` and `window`, as class or instance attributes, and implements `programming_std`.
    It overrides `age` for drift, `read_std` for read noise and `programming_error` for an error that is neither normal
    nor uniform. The properties below have defaults and are overridden by class attributes or properties. Methods work
    element by element on tensors of any shape and must not modify their arguments. What they return is checked: a
    result of the wrong shape, NaN, infinity or a negative standard deviation raises `InputError`.

    Attributes:
        name: Name of the device in messages, tables and files.
        unit: Unit of all states: `uS`, `nA`, or `1` for fractions of full scale.
        window: (min, max) target states used for programming, in `unit`.

    Examples:
        >>> class MyCell(CellModel):
        ...     name = "my-cell"
        ...     unit = "uS"
        ...     window = (1.0, 20.0)
        ...
        ...     def programming_std(self, target):
        ...         return 0.2 + 0.03 * target
    """

    checks_results: ClassVar[bool] = True
    """Whether what the methods return is checked. False for cards, whose laws are validated when they are read."""

    if TYPE_CHECKING:  # attributes that a subclass sets; pydantic would take run-time properties for shadowed fields

        @property
        def name(self) -> str:
            """Name of the device."""

        @property
        def unit(self) -> str:
            """Unit of all states."""

        @property
        def window(self) -> tuple[float, float]:
            """(min, max) target states used for programming, in `unit`."""

    @abstractmethod
    def programming_std(self, target: Tensor) -> Tensor:
        """Return the standard deviation of the programmed state around its target.

        Args:
            target: Target states, any shape, in `unit`.

        Returns:
            Standard deviations of the same shape, in `unit`, at least 0.
        """

    def programming_error(self, target: Tensor, draw: Draw) -> Tensor:
        """Return the programming error of each cell in units of its standard deviation, `programming_std`.

        The default is normal or uniform, see `programming_distribution`. A method that overrides it has the
        distribution "empirical", and computes quantiles.

        Args:
            target: Target states, any shape, in `unit`.
            draw: Source of random numbers. `draw("programming-uniform", target)` returns one probability per cell,
                uniform on [0, 1).

        Returns:
            Errors of the same shape, with standard deviation 1, and mean 0 unless states are off target on average.
        """
        return standard_error(self.programming_distribution, target, draw)

    def age(self, cells: ProgrammedCells, draw: Draw, time_s: float) -> Tensor:
        """Return the states of programmed cells at a later time. The default has no drift.

        Args:
            cells: Targets, programmed states and programming errors.
            draw: Source of random numbers. `draw("drift", cells.target)` returns one standard normal number per cell,
                the same ones at every time, so that a chip drifts along one trajectory.
            time_s: Seconds since programming, above `drift_starts_s`.

        Returns:
            States of the same shape, in `unit`. They are then clipped, see `drift_clip`.
        """
        return cells.programmed

    def read_std(self, states: CellStates, time_s: float) -> Tensor:
        """Return the standard deviation of one read around the present state. The default has no read noise.

        Args:
            states: States right after programming and now.
            time_s: Seconds since programming of `states.now`.

        Returns:
            Standard deviations of the same shape, in `unit`, at least 0. The noise is Gaussian and independent from
            read to read.
        """
        return states.now.new_zeros(states.now.shape)

    def resistance_ohm(self, state: float) -> float | None:
        """Return the resistance of a cell in a state above 0; None if it is not known, as for relative states."""
        return 1e6 / state if self.unit == UNITS["conductance"] else None

    @property
    def description(self) -> str:
        """One line on the technology, for reports."""
        return f"Cell model in Python: {type(self).__module__}.{type(self).__qualname__}"

    @property
    def provenance(self) -> Source:
        """Where the numbers come from, for reports."""
        return Source(citation=self.description)

    @property
    def state_kind(self) -> str:
        """`conductance`, `current` or `relative`, by the unit."""
        return next(kind for kind, unit in UNITS.items() if unit == self.unit)

    @property
    def limits(self) -> tuple[float, float]:
        """(low, high) states between which the model is valid, in `unit`. A cell drifts within them."""
        return self.window

    @property
    def stuck_fractions(self) -> tuple[float, float]:
        """Fractions of cells stuck at the low and at the high end of the window."""
        return 0.0, 0.0

    @property
    def has_programming_error(self) -> bool:
        """Whether programming has a random error."""
        return True

    @property
    def programming_distribution(self) -> Distribution:
        """Shape of the programming error: "normal", "uniform", or "empirical", which overrides `programming_error`."""
        return "normal"

    @property
    def programming_knots(self) -> tuple[float, ...]:
        """Probabilities between which the quantiles of an error that is not normal are smooth, from 0 to 1."""
        return 0.0, 1.0

    @property
    def programming_device_share(self) -> float:
        """Share of the programming error's variance that stays with a device when its chip is programmed again."""
        return 0.0

    @property
    def programming_clip(self) -> Clip:
        """Whether programmed states are clipped at 0 only, or to the programming window."""
        return "nonnegative"

    @property
    def has_drift(self) -> bool:
        """Whether states change after programming. By default, whether `age` is overridden."""
        return type(self).age is not CellModel.age

    @property
    def drift_is_random(self) -> bool:
        """Whether `age` draws random numbers of its own."""
        return self.has_drift

    @property
    def drift_uses_programmed(self) -> bool:
        """Whether `age` uses the programmed states."""
        return True

    @property
    def drift_starts_s(self) -> float:
        """Time [s] up to which nothing drifts."""
        return 0.0

    @property
    def drift_limits_s(self) -> tuple[float, float] | None:
        """(first, last) times [s] between which the drift is valid; None without drift."""
        return (0.0, LONGEST_S) if self.has_drift else None

    @property
    def drift_state_limits(self) -> tuple[float, float] | None:
        """(low, high) target states between which the drift is valid, in `unit`; None: `limits`."""
        return None

    @property
    def drift_clip(self) -> Clip:
        """Whether drifted states are clipped at 0 only, or to `limits`."""
        return "nonnegative"

    @property
    def has_read_noise(self) -> bool:
        """Whether each read differs. By default, whether `read_std` is overridden."""
        return type(self).read_std is not CellModel.read_std

    @property
    def read_noise_depends_on_time(self) -> bool:
        """Whether `read_std` depends on the time beyond the present state."""
        return self.has_read_noise

    @property
    def depends_on_time(self) -> bool:
        """Whether the device behaves differently at different times after programming."""
        return self.has_drift or self.read_noise_depends_on_time
