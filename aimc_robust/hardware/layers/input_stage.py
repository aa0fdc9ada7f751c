"""Input side of a layer in arrays: converter ranges and the inputs of the rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from aimc_robust.errors import InputError
from aimc_robust.hardware.config.quantization import input_levels, quantize
from aimc_robust.hardware.config.ranges import LayerRanges, missing_ranges
from aimc_robust.hardware.layers.stored_matrix import StoredMatrix
from aimc_robust.hardware.programming.read_noise import ReadNoise, to_variance_type

Observer = Callable[[str, int, Tensor], None]
"""Callback for calibration. It receives ("input", 0, inputs), ("input", 1, the input of bias rows) and
("current", bank, column currents before the ADC)."""


class RowInputs(NamedTuple):
    """Inputs that drive the rows of arrays: the layer's, and that of bias rows (a scalar).

    `driven`: 1 where an input is driven, 0 elsewhere, like one image of `inputs`; None: all of them are.
    """

    inputs: Tensor
    bias_input: Tensor
    driven: Tensor | None = None

    def squares(self) -> RowInputs:
        """Return the squares of the inputs, to be multiplied with variances."""
        return RowInputs(to_variance_type(self.inputs.detach().square(), overwrite=True), self.bias_input.square())


class InputStage(StoredMatrix):
    """A stored matrix whose inputs pass through DACs."""

    noise: ReadNoise | None = None
    observer: Observer | None = None
    calibrated: LayerRanges | None = None  # this layer's entry of the deployment's converter ranges
    quantize_inputs: Callable[..., Tensor] = staticmethod(quantize)  # of the layer's inputs; while ranges are learned,
    # with a gradient of the range

    def dac_inputs(self, x: Tensor) -> Tensor:
        """Return what the DACs convert, such as padded inputs: `x` itself or a new tensor."""
        return x

    def spread_inputs(self, x: Tensor) -> Tensor:
        """Return converted inputs as applied to the rows, some of which may not be driven."""
        return x

    @property
    def ranges(self) -> LayerRanges | None:
        """Calibrated ranges of this layer; raises InputError if they are needed and missing."""
        if self.calibrated is None and self.crossbar.periphery.needs_calibration and self.observer is None:
            raise missing_ranges(self.crossbar.periphery.calibrated, self.name)
        return self.calibrated

    @property
    def full_scale(self) -> float:
        """Largest input of the DAC, in units of the layer's input."""
        dac = self.crossbar.periphery.dac
        if dac is not None and dac.full_scale is not None:
            return dac.full_scale
        return 1.0 if self.ranges is None else self.ranges.full_scale

    @property
    def dac_kind(self) -> str:
        """Kind of the DAC; `auto` is resolved by this layer's calibrated inputs."""
        dac = self.crossbar.periphery.dac
        if dac is None:
            return "ideal"
        if dac.kind != "auto":
            return dac.kind
        return "sign-magnitude" if self.ranges is None or self.ranges.signed else "unsigned"

    @property
    def is_calibrating(self) -> bool:
        """Whether an observer is set and there are no ranges yet, so that converters are bypassed."""
        return self.observer is not None and self.ranges is None

    def convert_inputs(self, x: Tensor) -> RowInputs:
        """Convert the inputs of the layer by the DACs to those of the rows.

        Raises:
            InputError: if converter ranges are missing, or if the DAC would clip the input of bias rows.
        """
        inputs, bias_input = self.dac_inputs(x), x.new_ones(())
        if self.observer is not None:
            self.observer("input", 0, inputs)
            if self.bias_rows:
                self.observer("input", 1, bias_input)
        dac = self.crossbar.periphery.dac
        if dac is None or self.dac_kind == "ideal" or self.is_calibrating:
            return self._on_rows(RowInputs(inputs, bias_input))
        if self.bias_rows and self.full_scale < 1:
            raise InputError(
                f"the layer {self.name!r} has bias rows, which are driven by 1, above the DAC's full scale of "
                f"{self.full_scale:g}: their bias would be clipped. Use a full_scale of at least 1, or bias_rows=0."
            )
        lowest, steps = input_levels(self.dac_kind, dac.bits)
        low, high = lowest * self.full_scale, self.full_scale
        is_copy = inputs is not x  # the caller's tensor must not be modified
        return self._on_rows(
            RowInputs(
                self.quantize_inputs(inputs, low, high, steps, overwrite=is_copy),
                quantize(bias_input, low, high, steps),
            )
        )

    def _on_rows(self, rows: RowInputs) -> RowInputs:
        spread = self.spread_inputs(rows.inputs)
        if spread is not rows.inputs and self.crossbar.periphery.dac_noise:
            rows = rows._replace(driven=self.spread_inputs(torch.ones_like(rows.inputs[:1])))
        return rows._replace(inputs=spread)

    def adc_ranges(self) -> tuple[tuple[float, float], ...]:
        """Calibrated (low, high) of the ADCs of each weight slice."""
        assert self.ranges is not None
        ranges, banks = self.ranges.outputs, len(self.factors)
        if len(ranges) != banks:
            raise InputError(
                f"the layer {self.name!r} has ADC ranges for {len(ranges)} weight slices where this crossbar has "
                f"{banks}; they belong to another crossbar. Calibrate this one."
            )
        return ranges
