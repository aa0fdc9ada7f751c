"""Weights to a simulated crossbar and back."""

from aimc_robust.hardware.coverage import Coverage
from aimc_robust.hardware.crossbar import Crossbar
from aimc_robust.hardware.program import chip_axes, coverage, prepare, program

__all__ = ["Coverage", "Crossbar", "chip_axes", "coverage", "prepare", "program"]
