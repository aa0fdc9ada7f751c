"""The input side of a layer on arrays: which ranges its converters have, and what drives the rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from aimc_robust.errors import InputError
from aimc_robust.hardware.config.converters import input_levels, quantised
from aimc_robust.hardware.config.ranges import LayerRanges, missing_ranges
from aimc_robust.hardware.layers.stored_matrix import StoredMatrix
from aimc_robust.hardware.programming.read_noise import ReadNoise

Observer = Callable[[str, int, Tensor], None]
"""Told of ("input", 0, inputs), ("input", 1, that of bias rows) and ("current", bank, column currents before the ADC),
for calibration."""


class RowInputs(NamedTuple):
    """What drives the rows: `x`, the layer's inputs; `one`, the input of bias rows; and, for read noise, squares."""

    x: Tensor
    one: Tensor
    squares: RowInputs | None = None

    def with_squares(self) -> RowInputs:
        return self._replace(squares=RowInputs(self.x.detach().square(), self.one.square()))


class InputStage(StoredMatrix):
    """A stored matrix whose inputs pass DACs."""

    noise: ReadNoise | None = None
    observer: Observer | None = None

    def drive(self, x: Tensor) -> Tensor:
        """What the DACs convert, such as x padded; x itself, or a fresh tensor."""
        return x

    def spread(self, x: Tensor) -> Tensor:
        """Converted inputs as they lie on the rows, some of which may not be driven."""
        return x

    @property
    def ranges(self) -> LayerRanges | None:
        """This layer's calibrated ranges. Raises InputError when they are needed and missing."""
        found = (self.crossbar.ranges or {}).get(self.name)
        if found is None and self.crossbar.needs_ranges and self.observer is None:
            raise missing_ranges(self.name)
        return found

    @property
    def full_scale(self) -> float:
        """The input that the DAC applies at full scale, in units of the layer's input."""
        dac = self.crossbar.dac
        if dac is not None and dac.full_scale is not None:
            return dac.full_scale
        return 1.0 if self.ranges is None else self.ranges.full_scale

    @property
    def dac_kind(self) -> str:
        """The DAC's kind, `auto` resolved by this layer's calibrated inputs."""
        dac = self.crossbar.dac
        if dac is None:
            return "ideal"
        if dac.kind != "auto":
            return dac.kind
        return "sign-magnitude" if self.ranges is None or self.ranges.signed else "unsigned"

    def converted(self, x: Tensor) -> RowInputs:
        """What drives the rows for these inputs."""
        driven, one = self.drive(x), x.new_ones(())
        if self.observer is not None:
            self.observer("input", 0, driven)
            if self.extra_rows:
                self.observer("input", 1, one)
        if self.dac_kind == "ideal" or (self.observer is not None and self.ranges is None):
            return self._on_rows(RowInputs(driven, one))
        if self.extra_rows and self.full_scale < 1:
            raise InputError(
                f"the layer {self.name!r} has bias rows, which are driven by 1, above the DAC's full scale of "
                f"{self.full_scale:g}: their bias would be clipped. Use a full_scale of at least 1, or bias_rows=0."
            )
        low, steps = input_levels(self.dac_kind, self.crossbar.dac.bits)
        low, high = low * self.full_scale, self.full_scale
        fresh = driven is not x  # the caller's tensor stays as it is
        converted = quantised(driven, low, high, steps, overwrite=fresh), quantised(one, low, high, steps)
        return self._on_rows(RowInputs(*converted))

    def _on_rows(self, driven: RowInputs) -> RowInputs:
        driven = driven._replace(x=self.spread(driven.x))
        return driven if self.noise is None else driven.with_squares()

    def output_ranges(self) -> tuple[tuple[float, float], ...]:
        """Calibrated ranges of the ADCs of each weight slice. Raises InputError when they are another crossbar's."""
        found, banks = self.ranges.outputs, len(self.factors)
        if len(found) != banks:
            raise InputError(
                f"the layer {self.name!r} has ADC ranges for {len(found)} weight slices where this crossbar has "
                f"{banks}; they were found for another crossbar: calibrate this one."
            )
        return found
