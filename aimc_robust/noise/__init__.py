"""Weight noise: what turns a named weight tensor into a perturbed one. Training, evaluation and analysis share it."""

from aimc_robust.noise.gaussian import Gaussian
from aimc_robust.noise.laplace import Laplace
from aimc_robust.noise.perturb import perturb_weights, perturbed
from aimc_robust.noise.protocol import WeightNoise
from aimc_robust.noise.scales import SCALES, weight_scale
from aimc_robust.noise.scope import AnalogWeight, Scope, analog_layers, analog_weights, weights_in_scope

__all__ = [
    "SCALES",
    "AnalogWeight",
    "Gaussian",
    "Laplace",
    "Scope",
    "WeightNoise",
    "analog_layers",
    "analog_weights",
    "perturb_weights",
    "perturbed",
    "weight_scale",
    "weights_in_scope",
]
