"""Errors of the gain, the offset and the linearity of a layer's ADCs on one chip."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from aimc_robust.hardware.config.converters import ADC
from aimc_robust.random_numbers import normal
from aimc_robust.seeding import Axes


class ADCErrors:
    """Errors of the ADCs of one layer on one chip, see `ADC`: drawn once, whatever is read.

    Args:
        adc: The converters.
        axes: Axes of the layer's arrays on the chip.
        arrays: Number of the array of each output, among those that the layer's outputs are cut into.
    """

    def __init__(self, adc: ADC, axes: Axes, arrays: Sequence[int]) -> None:
        self._adc, self._axes, self._arrays = adc, axes, tuple(arrays)
        self._drawn: dict[tuple[tuple[int, int], torch.device], Tensor] = {}

    def numbers(self, array: tuple[int, int], device: torch.device | str = "cpu") -> Tensor:
        """Return standard normal numbers (4, outputs) of gain, offset and the two bows, the same on every device.

        `array`: bank and tile of rows.
        """
        key = array, torch.device(device)
        if key not in self._drawn:
            axes = self._axes.at(array=".".join(map(str, array)))
            shared = self._adc.errors_per == "array"
            count = max(self._arrays) + 1 if shared else len(self._arrays)
            drawn = normal(axes, torch.empty((count, 4), dtype=torch.float64)).T
            drawn = drawn[:, list(self._arrays)] if shared else drawn
            # MPS has no float64. Copied once: at every read, it would be waited for.
            self._drawn[key] = drawn.float().to(device) if key[1].type == "mps" else drawn.to(device)
        return self._drawn[key]

    def apply(
        self,
        current: Tensor,
        low: float,
        high: float,
        array: tuple[int, int],
        per_output: Callable[[Tensor, Tensor], Tensor],
    ) -> Tensor:
        """Return what column currents are taken for; `per_output` broadcasts one value per output to them."""
        adc, width = self._adc, high - low
        stds = (adc.gain_error, width * adc.offset_error, width * adc.inl, width * adc.inl)
        gain, offset, bow, double_bow = (
            per_output((std * row).to(current), current)
            for std, row in zip(stds, self.numbers(array, current.device), strict=True)
        )
        taken_for = current * (1.0 + gain) + offset
        if adc.inl:
            place = ((current - low) * (math.pi / width)).clamp(0.0, math.pi)
            taken_for = taken_for + bow * place.sin() + double_bow * (2.0 * place).sin()
        return taken_for
