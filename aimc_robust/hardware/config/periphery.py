"""Periphery of the arrays: what acts at their edges."""

from dataclasses import dataclass

from aimc_robust.errors import InputError
from aimc_robust.hardware.config.converters import ADC, DAC


@dataclass(frozen=True, kw_only=True)
class Periphery:
    """Converters around the arrays.

    Attributes:
        dac: Converter of the inputs; None: ideal.
        adc: Converter of each array's column currents; None: ideal.

    Raises:
        InputError: if a value is of another type.
    """

    dac: DAC | None = None
    adc: ADC | None = None

    def __post_init__(self) -> None:
        for name, value, kind in (("dac", self.dac, DAC), ("adc", self.adc, ADC)):
            if value is not None and not isinstance(value, kind):
                raise InputError(f"{name} must be a {kind.__name__} such as {kind.__name__}(bits=8), got {value!r}.")

    @property
    def needs_calibration(self) -> bool:
        """Whether converter ranges must be found with `calibrate` before a model can run."""
        dac_open = self.dac is not None and self.dac.needs_calibration
        # A DAC's full scale is also the unit of the ADC's range.
        unit_open = self.adc is not None and (self.dac is None or self.dac.full_scale is None)
        return dac_open or unit_open or (self.adc is not None and self.adc.needs_calibration)

    @property
    def fixed_full_scale(self) -> float | None:
        """The full scale of a DAC that clips, as configured; None: there is no such DAC, or it is calibrated."""
        return None if self.dac is None or self.dac.kind == "ideal" else self.dac.full_scale
