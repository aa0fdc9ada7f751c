"""Output side of a layer in arrays: noise of the currents, and ADCs."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from aimc_robust.hardware.config.converters import ADC
from aimc_robust.hardware.config.quantization import Levels, LevelScale, level_scale
from aimc_robust.hardware.config.tiling import Interval
from aimc_robust.hardware.layers.adc_errors import ADCErrors
from aimc_robust.hardware.layers.noisy_inputs import NoisyInputs
from aimc_robust.hardware.programming.read_noise import Array
from aimc_robust.seeding import Axes

SCALES = 1e-20, 1e20  # of products: beyond, float32 would overflow or lose digits


class OutputStage(NoisyInputs):
    """Products whose currents have noise and pass through ADCs.

    Attributes:
        tiles: [start, stop) of the rows of each array.
    """

    tiles: list[Interval]
    _periphery_axes: Axes

    def levels_of_products(self, bank: int, tile: int) -> LevelScale | None:
        """Return the scale in which products are levels of the ADC, which saves a pass; None: they must not be scaled.

        Errors of ADCs and calibration take currents, and the gradient passes straight through the rounding of them.
        """
        adc = self.crossbar.periphery.adc
        takes_currents = self.observer is not None or self.crossbar.periphery.dac_noise > 0
        if adc is None or not adc.steps or adc.has_errors or takes_currents:
            return None
        low, high = self._adc_range(adc, bank, tile)
        levels = level_scale(low * self.full_scale, high * self.full_scale, adc.steps)
        return levels if SCALES[0] < levels.scale < SCALES[1] else None

    def add_noise(self, current: Tensor, variance: Tensor | None, std: float, array: Array, scale: float) -> Tensor:
        """Add the read noise of the devices, of this variance, and that of the outputs: one Gaussian number of both."""
        assert self.noise is not None
        with torch.no_grad():
            if variance is not None:
                variance = variance.add_(std**2) if std else variance
                # Sums of nonnegative terms; only a GPU's fast convolutions may give values below 0.
                total = (variance if variance.device.type == "cpu" else variance.clamp_(min=0.0)).sqrt_()
                numbers = self.noise.draw(total, array, outputs_last=self.outputs_last)
            elif std:
                numbers = self.noise.draw(current, array, outputs_last=self.outputs_last)
        if variance is not None:
            return current.addcmul_(total, numbers, value=scale)
        return current.add_(numbers, alpha=std * scale) if std else current

    def convert_output(
        self, current: Tensor, bank: int, tile: int, unit: float, levels: LevelScale | None = None
    ) -> Levels:
        """Apply the ADC. `unit` is the unit of its range; `levels`: the scale that the current has already."""
        if levels is not None:
            return levels.round_(current)
        adc = self.crossbar.periphery.adc
        if self.observer is not None:
            self.observer("current", bank, current / unit)
        if adc is None or self.observer is not None:
            return Levels(current)
        low, high = self._adc_range(adc, bank, tile)
        if self.adc_errors is not None:
            current = self.adc_errors.apply(current, low * unit, high * unit, (bank, tile), self._per_output)
        return adc.convert(current, low * unit, high * unit)

    @cached_property
    def adc_errors(self) -> ADCErrors | None:
        """Errors of the ADCs on this chip, if they have any."""
        adc = self.crossbar.periphery.adc
        if adc is None or not adc.has_errors:
            return None
        return ADCErrors(adc, self._periphery_axes, self.array_of_outputs)

    def _adc_range(self, adc: ADC, bank: int, tile: int) -> tuple[float, float]:
        if not isinstance(adc.range, str):
            return adc.range
        if adc.range == "calibrated":
            return self.adc_ranges()[bank]
        start, stop = self.tiles[tile]
        mapping = self.crossbar.weights.mapping
        # All devices of one sign at the end of the window, those of the other at 0.
        limit = float(stop - start) * max(map(mapping.signs.count, (1.0, -1.0))) / mapping.banks
        nonnegative = -1.0 not in mapping.signs and self.dac_kind == "unsigned"
        return (0.0 if nonnegative else -limit), limit
