"""The periphery of the arrays: inputs become voltages (DAC), column currents become numbers (ADC).

Levels after CrossSim 3.2 (BSD-3, sandialabs/cross-sim).
"""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from torch import Tensor

from aimc_robust.errors import InputError, names_arguments, require_finite, require_known, require_whole, short_repr
from aimc_robust.hardware.config.quantization import Levels, quantize_to_levels

DACKind = Literal["auto", "unsigned", "signed", "sign-magnitude", "ideal"]
ADCKind = Literal["uniform", "sign-magnitude"]
ADCRange = Literal["calibrated", "worst-case"]
ErrorsPer = Literal["array", "column"]
MAX_BITS = 16


@names_arguments
@dataclass(frozen=True, kw_only=True)
class DAC:
    """Input converter of every row.

    Attributes:
        bits: Resolution, 1 to 16 (signed, sign-magnitude and auto: from 2); 0 clips to full scale without rounding.
        kind: `unsigned`: 2^bits levels on [0, full scale]. `signed`: 2^bits levels on +-full scale, none of which is 0.
            `sign-magnitude`: 2^bits - 1 levels on +-full scale, one of which is 0. `auto`: unsigned for a layer whose
            calibrated inputs are never negative, else sign-magnitude. `ideal`: neither clips nor rounds.
        full_scale: Largest input, in units of the layer's input; None: each layer's calibrated value.
        slice_bits: Bits applied at a time, least significant first; 0: the whole input at once.
        noise: Standard deviation of Gaussian noise that is added to the converted input of every row at every read, in
            units of full scale (aihwkit: `inp_noise`). It is the same for all columns of an array and is not clipped.

    Raises:
        InputError: if a value is invalid.
        UnknownNameError: if `kind` is unknown.
    """

    bits: int = 0
    kind: DACKind = "auto"
    full_scale: float | None = None
    slice_bits: int = 0
    noise: float = 0.0

    def __post_init__(self) -> None:
        require_known("DAC kind", self.kind, get_args(DACKind))
        require_finite("noise of a DAC", self.noise)
        require_whole("bits of a DAC (0: no rounding)", self.bits, low=0, high=MAX_BITS)
        if self.kind == "ideal" and self.bits:
            raise InputError(f"a DAC of kind ideal does not round: omit bits, got {self.bits}.")
        if self.bits == 1 and self.kind != "unsigned":
            raise InputError(f"bits of a DAC of kind {self.kind} must be 0, or from 2 to 16, got 1.")
        if self.full_scale is not None:
            require_finite("full_scale of a DAC", self.full_scale)
            if self.full_scale == 0:
                raise InputError("full_scale of a DAC must be above 0, got 0; omit it to calibrate it.")
        require_whole("slice_bits (0: no input slicing)", self.slice_bits, low=0, high=self.bits)
        if self.slice_bits and self.kind in ("signed", "ideal"):
            raise InputError(
                "input bit slicing (slice_bits) requires a DAC of kind `unsigned` or `sign-magnitude`, got "
                f"`{self.kind}`."
            )


@names_arguments
@dataclass(frozen=True, kw_only=True)
class ADC:
    """Output converter of every column; each array's output is converted separately, then summed digitally.

    A column current v on a range of width R is converted as (1 + a) v + R (b + c sin(pi u) + d sin(2 pi u)), with u the
    place of v within the range, 0 to 1. The errors a, b, c and d are Gaussian, drawn once per chip, and frozen over
    reads, batches and times. The last two are integral non-linearity by its terminal-based definition (IEEE Std 1241):
    it is 0 at both ends of the range, once with one bow and once with two.

    Attributes:
        bits: Resolution, 1 to 16 (sign-magnitude: from 2); 0 clips to the range without rounding, an output bound.
        kind: `uniform`: 2^bits levels on the range. `sign-magnitude`: 2^bits - 1 levels.
        range: `calibrated`: each layer's own range, from data. `worst-case`: a range that no column can exceed. Or
            (low, high) in units of the current of one device at the top of the window with a full-scale input.
        per_slice: With input slicing, convert after every input slice instead of once after all of them.
        gain_error: Standard deviation of the gain's relative error a.
        offset_error: Standard deviation of the offset b, in units of the range's width.
        inl: Standard deviation of the amplitudes c and d of the integral non-linearity, in units of the range's width.
            Data sheets give it in steps: one step is 1 / 2^bits.
        errors_per: What has a converter, and so errors, of its own: each `column`, or each `array`, whose columns share
            one.

    Raises:
        InputError: if a value is invalid.
        UnknownNameError: if `kind`, `range` or `errors_per` is unknown.
    """

    bits: int
    kind: ADCKind = "uniform"
    range: ADCRange | tuple[float, float] = "calibrated"
    per_slice: bool = False
    gain_error: float = 0.0
    offset_error: float = 0.0
    inl: float = 0.0
    errors_per: ErrorsPer = "column"

    def __post_init__(self) -> None:
        require_known("ADC kind", self.kind, get_args(ADCKind))
        require_whole("bits of an ADC (0: no rounding)", self.bits, low=0, high=MAX_BITS)
        if self.bits == 1 and self.kind == "sign-magnitude":
            raise InputError("bits of an ADC of kind sign-magnitude must be 0, or from 2 to 16, got 1.")
        for name in ("gain_error", "offset_error", "inl"):
            require_finite(f"{name} of an ADC", getattr(self, name))
        require_known("errors_per of an ADC", self.errors_per, get_args(ErrorsPer))
        if isinstance(self.range, str):
            require_known("ADC range", self.range, get_args(ADCRange))
        else:
            object.__setattr__(self, "range", parse_range("range of an ADC", self.range))

    @property
    def needs_calibration(self) -> bool:
        """Whether its range is found from data."""
        return self.range == "calibrated"

    @property
    def has_errors(self) -> bool:
        """Whether it has errors of gain, offset or linearity."""
        return self.gain_error > 0 or self.offset_error > 0 or self.inl > 0

    @property
    def steps(self) -> int:
        """Number of intervals between levels over the range; 0: no levels."""
        return 2**self.bits - (2 if self.kind == "sign-magnitude" else 1) if self.bits else 0

    def convert(self, current: Tensor, low: float, high: float) -> Levels:
        """Round currents to the levels of [low, high]; their memory may be reused if no gradient is recorded."""
        return quantize_to_levels(current, low, high, self.steps, overwrite=True)


@dataclass(frozen=True, kw_only=True)
class Periphery:
    """What is around the arrays, the options `dac`, `adc` and `output_noise` of `Crossbar`; None: ideal."""

    dac: DAC | None = None
    adc: ADC | None = None
    output_noise: float = 0.0

    def __post_init__(self) -> None:
        require_finite("output_noise", self.output_noise)
        for name, value, kind in (("dac", self.dac, DAC), ("adc", self.adc, ADC)):
            if value is not None and not isinstance(value, kind):
                raise InputError(f"{name} must be a {kind.__name__} such as {kind.__name__}(bits=8), got {value!r}.")

    @property
    def dac_noise(self) -> float:
        """Standard deviation of the noise of the DACs, in units of full scale."""
        return 0.0 if self.dac is None else self.dac.noise

    @property
    def has_noise(self) -> bool:
        """Whether the periphery adds noise of its own at every read."""
        return self.dac_noise > 0 or self.output_noise > 0

    @property
    def acts(self) -> bool:
        """Whether anything but ideal wires is around the arrays."""
        return self.dac is not None or self.adc is not None or self.output_noise > 0

    @property
    def rounds(self) -> bool:
        """Whether a converter has levels."""
        return any(converter is not None and converter.bits > 0 for converter in (self.dac, self.adc))

    def with_errors(self, strength: float) -> "Periphery":
        """Return the periphery with its noise and the errors of its ADCs scaled by `strength`; 0: without them.

        Its fields are options of `Crossbar`, so that `vars` of it are arguments of `Crossbar.replace`.
        """
        dac, adc = self.dac, self.adc
        if dac is not None:
            dac = replace(dac, noise=dac.noise * strength)
        if adc is not None:
            errors = {name: getattr(adc, name) * strength for name in ("gain_error", "offset_error", "inl")}
            adc = replace(adc, **errors)
        return Periphery(dac=dac, adc=adc, output_noise=self.output_noise * strength)

    @property
    def needs_calibration(self) -> bool:
        """Whether converter ranges must be found with `calibrate` before a model can run."""
        return bool(self.calibrated)

    @property
    def calibrated(self) -> list[str]:
        """The settings that must be found with `calibrate` before a model can run."""
        clips = self.dac is not None and self.dac.kind != "ideal"
        is_unset = self.dac is None or self.dac.full_scale is None
        is_unit = self.adc is not None or self.has_noise  # of the ADC's range, and of noise
        settings = {
            "kind of the DAC": self.dac is not None and self.dac.kind == "auto",
            "full_scale of the DAC": is_unset and (clips or is_unit),
            "range of the ADC": self.adc is not None and self.adc.needs_calibration,
        }
        return [name for name, is_calibrated in settings.items() if is_calibrated]

    @property
    def calibrates_inputs(self) -> bool:
        """Whether there is a DAC that clips, with a full scale of each layer's own."""
        return self.dac is not None and self.dac.kind != "ideal" and self.dac.full_scale is None

    @property
    def fixed_full_scale(self) -> float | None:
        """The full scale of a DAC that clips, as configured; None: there is no such DAC, or it is calibrated."""
        return None if self.dac is None or self.dac.kind == "ideal" else self.dac.full_scale


def parse_range(
    name: str, values: Any, *, least: float = -math.inf, ends: tuple[str, str] = ("low", "high")
) -> tuple[float, float]:
    """Return `values` as (low, high); raise InputError unless they are two finite numbers, least <= low < high."""
    try:
        low, high = (float(value) for value in values if not isinstance(value, str | bool))
        valid = math.isfinite(low) and least <= low < high < math.inf
    except (TypeError, ValueError):
        valid = False
    if not valid:
        order = f"{ends[0]} < {ends[1]}" if least == -math.inf else f"{least:g} <= {ends[0]} < {ends[1]}"
        raise InputError(f"{name} must be ({', '.join(ends)}) with {order}, both finite, got {short_repr(values)}.")
    return low, high
