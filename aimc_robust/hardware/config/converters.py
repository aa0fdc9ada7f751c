"""The periphery of the arrays: inputs become voltages (DAC), column currents become numbers (ADC).

Levels after CrossSim 3.2 (BSD-3, sandialabs/cross-sim).
"""

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from torch import Tensor

from aimc_robust.errors import InputError, names_arguments, require_finite, require_known, require_whole, short_repr
from aimc_robust.hardware.config.quantization import quantize

DACKind = Literal["auto", "unsigned", "signed", "sign-magnitude", "ideal"]
ADCKind = Literal["uniform", "sign-magnitude"]
ADCRange = Literal["calibrated", "worst-case"]
MAX_BITS = 16


@names_arguments
@dataclass(frozen=True, kw_only=True)
class DAC:
    """Input converter of every row.

    Attributes:
        bits: Resolution, 1 to 16 (signed and sign-magnitude: from 2); 0 for an ideal converter.
        kind: `unsigned`: 2^bits levels on [0, full scale]. `signed`: 2^bits levels on +-full scale, none of which is 0.
            `sign-magnitude`: 2^bits - 1 levels on +-full scale, one of which is 0. `auto`: unsigned for a layer whose
            calibrated inputs are never negative, else sign-magnitude. `ideal`: neither clips nor rounds.
        full_scale: Largest input, in units of the layer's input; None: each layer's calibrated value.
        slice_bits: Bits applied at a time, least significant first; 0: the whole input at once.

    Raises:
        InputError: if a value is invalid.
        UnknownNameError: if `kind` is unknown.
    """

    bits: int = 0
    kind: DACKind = "auto"
    full_scale: float | None = None
    slice_bits: int = 0

    def __post_init__(self) -> None:
        require_known("DAC kind", self.kind, get_args(DACKind))
        low, high = {"ideal": (0, 0), "unsigned": (1, MAX_BITS)}.get(self.kind, (2, MAX_BITS))
        require_whole(f"bits of a DAC of kind {self.kind}", self.bits, low=low, high=high)
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

    Attributes:
        bits: Resolution, 1 to 16 (sign-magnitude: from 2).
        kind: `uniform`: 2^bits levels on the range. `sign-magnitude`: 2^bits - 1 levels.
        range: `calibrated`: each layer's own range, from data. `worst-case`: a range that no column can exceed. Or
            (low, high) in units of the current of one device at the top of the window with a full-scale input.
        per_slice: With input slicing, convert after every input slice instead of once after all of them.

    Raises:
        InputError: if a value is invalid.
        UnknownNameError: if `kind` or `range` is unknown.
    """

    bits: int
    kind: ADCKind = "uniform"
    range: ADCRange | tuple[float, float] = "calibrated"
    per_slice: bool = False

    def __post_init__(self) -> None:
        require_known("ADC kind", self.kind, get_args(ADCKind))
        low = 2 if self.kind == "sign-magnitude" else 1
        require_whole(f"bits of an ADC of kind {self.kind}", self.bits, low=low, high=MAX_BITS)
        if isinstance(self.range, str):
            require_known("ADC range", self.range, get_args(ADCRange))
        else:
            object.__setattr__(self, "range", parse_range("range of an ADC", self.range))

    @property
    def needs_calibration(self) -> bool:
        """Whether its range is found from data."""
        return self.range == "calibrated"

    @property
    def steps(self) -> int:
        """Number of intervals between levels over the range."""
        return 2**self.bits - (2 if self.kind == "sign-magnitude" else 1)

    def convert(self, current: Tensor, low: float, high: float) -> Tensor:
        """Round currents to the levels of [low, high]; their memory may be reused if no gradient is recorded."""
        return quantize(current, low, high, self.steps, overwrite=True)


@dataclass(frozen=True, kw_only=True)
class Periphery:
    """Converters around the arrays, the options `dac` and `adc` of `Crossbar`; None: ideal."""

    dac: DAC | None = None
    adc: ADC | None = None

    def __post_init__(self) -> None:
        for name, value, kind in (("dac", self.dac, DAC), ("adc", self.adc, ADC)):
            if value is not None and not isinstance(value, kind):
                raise InputError(f"{name} must be a {kind.__name__} such as {kind.__name__}(bits=8), got {value!r}.")

    @property
    def needs_calibration(self) -> bool:
        """Whether converter ranges must be found with `calibrate` before a model can run."""
        return bool(self.calibrated)

    @property
    def calibrated(self) -> list[str]:
        """The settings that must be found with `calibrate` before a model can run."""
        clips = self.dac is not None and self.dac.kind != "ideal"
        is_unset = self.dac is None or self.dac.full_scale is None
        settings = {
            "kind of the DAC": self.dac is not None and self.dac.kind == "auto",
            "full_scale of the DAC": is_unset and (clips or self.adc is not None),  # the unit of the ADC's range
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
