"""How a loss reacts to weight perturbations."""

from aimc_robust.analysis.sharpness import ascent_sharpness, average_sharpness

__all__ = ["ascent_sharpness", "average_sharpness"]
