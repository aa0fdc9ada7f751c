"""Weights to simulated crossbars: mapping, programming, converters, arrays; or back to weights with their errors."""

from aimc_robust.hardware.calibrate import calibrate
from aimc_robust.hardware.converters import ADC, DAC
from aimc_robust.hardware.coverage import Coverage
from aimc_robust.hardware.crossbar import Crossbar
from aimc_robust.hardware.mapping import BitSliced
from aimc_robust.hardware.prepare import coverage, prepare
from aimc_robust.hardware.program import chip_axes, program
from aimc_robust.hardware.ranges import LayerRanges
from aimc_robust.hardware.recalibrate import recalibrate_batchnorm

__all__ = [
    "ADC",
    "DAC",
    "BitSliced",
    "Coverage",
    "Crossbar",
    "LayerRanges",
    "calibrate",
    "chip_axes",
    "coverage",
    "prepare",
    "program",
    "recalibrate_batchnorm",
]
