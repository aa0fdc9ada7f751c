"""The laws that a card may name: errors of programming and of read, ageing, stuck cells. Schemas, no arithmetic."""

import itertools
from typing import Annotated, Literal

import pydantic

from aimc_robust.io.toml import StrictModel

Numbers = tuple[float, ...]
Pair = Annotated[tuple[float, float], pydantic.Field(strict=False)]  # TOML has arrays only
Positive = Annotated[float, pydantic.Field(gt=0)]
Nonnegative = Annotated[float, pydantic.Field(ge=0)]
Clip = Literal["nonnegative", "window"]


class Polynomial(StrictModel):
    """sigma(state) = sum_i coefficients[i] * (state / reference)**i, in the card's unit."""

    kind: Literal["polynomial"]
    coefficients: Annotated[Numbers, pydantic.Field(strict=False, min_length=1, max_length=12)]
    reference: Positive = 1.0


class SaturatingExponential(StrictModel):
    """sigma(state) = amplitude * (1 - exp(-state / constant)), all in the card's unit."""

    kind: Literal["saturating-exponential"]
    amplitude: Nonnegative
    constant: Positive


Std = Annotated[Polynomial | SaturatingExponential, pydantic.Field(discriminator="kind")]


class _Programming(StrictModel):
    # What happens to a programmed state that the error pushes out: below 0 only, or out of the window.
    clip: Clip = "nonnegative"
    # The shape of the error; either has the stated standard deviation.
    distribution: Literal["normal", "uniform"] = "normal"


class NoError(_Programming):
    """sigma(state) = 0."""

    kind: Literal["none"]


class PolynomialProgramming(Polynomial, _Programming):
    __doc__ = Polynomial.__doc__


class SaturatingProgramming(SaturatingExponential, _Programming):
    __doc__ = SaturatingExponential.__doc__


Programming = Annotated[
    NoError | PolynomialProgramming | SaturatingProgramming,
    pydantic.Field(discriminator="kind"),
]


class _Drift(StrictModel):
    # The times [s] within which the law holds, and the states [card.unit] if they are fewer than the card's limits.
    limits_s: Pair
    state_limits: Pair | None = None
    clip: Clip = "nonnegative"

    @pydantic.field_validator("limits_s", "state_limits")
    @classmethod
    def _ordered(cls, limits: tuple[float, float] | None) -> tuple[float, float] | None:
        if limits is not None and not 0 <= limits[0] < limits[1]:
            raise ValueError(f"expected [low, high] with 0 <= low < high, got [{limits[0]:g}, {limits[1]:g}]")
        return limits


class TableRow(StrictModel):
    """What holds at one time: mean shift sum_i shift[i] * target**i [card.unit], and the standard deviation."""

    time_s: Nonnegative
    shift: Annotated[Numbers, pydantic.Field(strict=False, max_length=16)] = ()
    std: Std


class TableDrift(_Drift):
    """state(t) = s' + std_t(s') * xi with s' = target + shift_t(target); xi is that of the programming error.

    Coefficients are interpolated between the rows of `at`, linearly in time or in log10(time). Beyond the last row
    the last two are extended; up to the first the programming error holds.
    """

    kind: Literal["table"]
    interpolation: Literal["linear", "log"] = "linear"
    at: Annotated[tuple[TableRow, ...], pydantic.Field(strict=False, min_length=2)]

    @pydantic.model_validator(mode="after")
    def _one_law_over_time(self) -> "TableDrift":
        times = [row.time_s for row in self.at]
        if any(later <= earlier for earlier, later in itertools.pairwise(times)):
            raise ValueError(f"at: expected time_s to rise from row to row, got {', '.join(f'{t:g}' for t in times)}")
        if self.interpolation == "log" and times[0] == 0:
            raise ValueError("at: interpolation 'log' needs time_s above 0 in the first row, got 0")
        laws = {(row.std.kind, getattr(row.std, "reference", None)) for row in self.at}
        if len(laws) > 1:
            raise ValueError("at: expected the same std.kind and std.reference in every row, since rows are mixed")
        return self


class ClippedLog(StrictModel):
    """clip(slope_ln * ln(x) + offset, min, max), without unit."""

    slope_ln: float
    offset: float
    min: Nonnegative
    max: Nonnegative

    @pydantic.model_validator(mode="after")
    def _ordered(self) -> "ClippedLog":
        if self.min > self.max:
            raise ValueError(f"expected min <= max, got min = {self.min:g} and max = {self.max:g}")
        return self


class PowerLawDrift(_Drift):
    """state(t) = programmed * ((t + t0_s) / t0_s)**-nu, nu = |mean(x) + std(x) * eta|, x = target / reference.

    eta is standard normal, one per device and programming. Time counts from when the programming error holds, t0_s
    after the programming pulse.
    """

    kind: Literal["power-law"]
    t0_s: Positive
    reference: Positive
    exponent_mean: ClippedLog
    exponent_std: ClippedLog


class LogarithmicDrift(_Drift):
    """state(t) = programmed + mean_ln * ln(t) + (std_ln * ln(t) + std_offset) * eta for t > 0, in the card's unit.

    eta is standard normal, one per device and programming. t is floored at 1 s; the standard deviation at 0.
    """

    kind: Literal["logarithmic"]
    mean_ln: float
    std_ln: float
    std_offset: float


Drift = Annotated[TableDrift | PowerLawDrift | LogarithmicDrift, pydantic.Field(discriminator="kind")]


class OneOverFRead(StrictModel):
    """sigma = now * min(q_max, q * (programmed / reference)**-exponent) * sqrt(ln((t + t_read_s) / (2 t_read_s))).

    t = time + t0_s: from the programming pulse to the read. 1/f noise, integrated over the bandwidth of a read.
    """

    kind: Literal["one-over-f"]
    q: Positive
    exponent: Nonnegative
    q_max: Positive
    reference: Positive
    t_read_s: Positive
    t0_s: Nonnegative = 0.0


class Log10OneOverFRead(StrictModel):
    """sigma = coefficient * log10(now) * sqrt(ln((t + t_read_s) / (2 t_read_s))), in the card's unit, at least 0.

    t = time + t0_s; now counts in the card's unit.
    """

    kind: Literal["log10-one-over-f"]
    coefficient: Nonnegative
    t_read_s: Positive
    t0_s: Nonnegative = 0.0


Read = Annotated[
    Polynomial | SaturatingExponential | OneOverFRead | Log10OneOverFRead,
    pydantic.Field(discriminator="kind"),
]


class Stuck(StrictModel):
    """The fractions of cells that stay at the low and at the high end of the window, whatever is programmed."""

    low: Annotated[float, pydantic.Field(ge=0, le=1)] = 0.0
    high: Annotated[float, pydantic.Field(ge=0, le=1)] = 0.0

    @pydantic.model_validator(mode="after")
    def _are_fractions_of_one(self) -> "Stuck":
        if self.low + self.high > 1:
            raise ValueError(f"expected low + high <= 1, got {self.low:g} + {self.high:g}")
        return self
