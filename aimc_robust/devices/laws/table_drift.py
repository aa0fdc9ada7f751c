"""Drift given by a table of mean shift and standard deviation over time."""

from __future__ import annotations

import bisect
import itertools
import math
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import pydantic

from aimc_robust.devices.cells import Draw, ProgrammedCells, spread_
from aimc_robust.devices.laws.base import DriftLaw, Nonnegative, Numbers, StdLaw
from aimc_robust.devices.laws.piecewise_linear import PiecewiseLinear
from aimc_robust.devices.laws.polynomial import Polynomial, mixed_coefficients, polynomial
from aimc_robust.devices.laws.saturating_exponential import SaturatingExponential
from aimc_robust.io.toml import StrictModel

if TYPE_CHECKING:
    from torch import Tensor


class TableRow(StrictModel):
    """The distribution of states at one time.

    Attributes:
        time_s: Seconds since programming.
        shift: Coefficients of the mean shift sum_i shift[i] * target**i, in the card's unit.
        std: Law of the standard deviation over the shifted target.
    """

    time_s: Nonnegative
    shift: Annotated[Numbers, pydantic.Field(strict=False, max_length=16)] = ()
    std: Annotated[Polynomial | SaturatingExponential | PiecewiseLinear, pydantic.Field(discriminator="kind")]


class TableDrift(DriftLaw):
    """state(t) = s' + std_t(s') * xi with s' = target + shift_t(target); xi is that of the programming error.

    Attributes:
        interpolation: Whether coefficients are interpolated linearly in time or in log10(time).
        at: The rows, by rising time.
    """

    formula: ClassVar[str] = (
        "state(t) = s' + std_t(s') * xi with s' = target + shift_t(target); xi is that of the programming error.\n\n"
        "Coefficients are interpolated between the rows of `at`, linearly in time or in log10(time). Beyond the last "
        "row the last two are extended; up to the first the programming error holds."
    )

    kind: Literal["table"]
    interpolation: Literal["linear", "log"] = "linear"
    at: Annotated[tuple[TableRow, ...], pydantic.Field(strict=False, min_length=2)]
    is_random: ClassVar[bool] = False  # cells keep their place in the distribution
    uses_programmed: ClassVar[bool] = False

    @pydantic.model_validator(mode="after")
    def _can_be_interpolated(self) -> TableDrift:
        times = [row.time_s for row in self.at]
        if any(later <= earlier for earlier, later in itertools.pairwise(times)):
            raise ValueError(f"at: expected time_s to rise from row to row, got {', '.join(f'{t:g}' for t in times)}")
        if self.interpolation == "log" and times[0] == 0:
            raise ValueError("at: interpolation 'log' needs time_s above 0 in the first row, got 0")
        for key in ("kind", "reference", "states"):
            if len({getattr(row.std, key, None) for row in self.at}) > 1:
                raise ValueError(f"at: expected the same std.{key} in every row, since rows are mixed")
        return self

    @property
    def starts_s(self) -> float:
        """Time [s] of the first row, up to which the programming error holds."""
        return self.at[0].time_s

    def interpolate(self, time_s: float) -> tuple[tuple[float, ...], StdLaw]:
        """Interpolate the rows at `time_s`.

        c(t) = c_a + (c_b - c_a) * (f(t) - f(t_a)) / (f(t_b) - f(t_a)), f(t) = t or log10(t), for each coefficient c;
        a and b are the rows around `time_s`, beyond the last row the last two.

        Returns:
            Coefficients of the shift in ascending powers of the target, and the law of the standard deviation.
        """
        scale = math.log10 if self.interpolation == "log" else float
        times = [row.time_s for row in self.at]
        after = min(max(bisect.bisect_left(times, time_s), 1), len(times) - 1)
        a, b = self.at[after - 1], self.at[after]
        fraction = (scale(time_s) - scale(a.time_s)) / (scale(b.time_s) - scale(a.time_s))
        std: StdLaw = a.std.interpolate(b.std, fraction)  # type: ignore[arg-type]  # of one kind, see above
        return mixed_coefficients(a.shift, b.shift, fraction), std

    def age(self, cells: ProgrammedCells, draw: Draw, time_s: float) -> Tensor:
        """Return the states at `time_s`; see `DriftLaw.age`.

        A table states the whole width of the distribution. If the programming error is switched off, its width is
        subtracted: the shift and the growth of the width remain.
        """
        shift, law = self.interpolate(time_s)
        center = polynomial(shift, cells.target).add_(cells.target) if any(shift) else cells.target
        std = law.std(center)
        if cells.removed_std is not None:
            std.sub_(cells.removed_std)
        return spread_(std, center, cells.error)
