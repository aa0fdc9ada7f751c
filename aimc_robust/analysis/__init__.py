"""How a loss reacts to weight perturbations."""

from aimc_robust.analysis.diagnostics import Diagnostics, DiagnosticsConfig
from aimc_robust.analysis.hutchinson import hessian_diagonal
from aimc_robust.analysis.sharpness import ascent_sharpness, average_sharpness

__all__ = ["Diagnostics", "DiagnosticsConfig", "ascent_sharpness", "average_sharpness", "hessian_diagonal"]
