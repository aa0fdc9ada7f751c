"""Train networks that survive analog memory, predict their accuracy on a device, compare devices and methods.

Names are imported when they are used, so that the command line answers before torch is loaded.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "aimc_robust.analysis": ["Diagnostics", "DiagnosticsConfig", "ascent_sharpness", "average_sharpness"],
    "aimc_robust.devices": ["Card", "card_names", "load_card"],
    "aimc_robust.evaluation": [
        "AccuracyEstimate", "Attribution", "EquivalentSigma", "PairedDifference", "Prediction", "Validity",
        "VarianceComponents", "Yield", "attribute", "difference_table", "equivalent_sigma", "evaluate", "holm",
        "layer_errors", "paired_difference", "predict_loss", "validate_prediction",
    ],
    "aimc_robust.fitting": ["Fit", "Verification", "fit_card", "verify_card"],
    "aimc_robust.hardware": [
        "ADC", "DAC", "BitSliced", "Coverage", "Crossbar", "LayerRanges", "calibrate", "coverage", "program",
        "recalibrate_batchnorm",
    ],
    "aimc_robust.noise": ["Gaussian", "Laplace", "WeightNoise", "perturbed"],
    "aimc_robust.seeding": ["Axes"],
    "aimc_robust.training": [
        "RWP", "SAM", "SGD", "AdaptiveSAM", "Augmentation", "EarlyStopping", "Images", "Machine", "Method", "MixedRWP",
        "Ramp", "RobustOptimizer", "Trained", "TrainingConfig", "train",
    ],
}  # fmt: skip
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = ["__version__", *sorted(_HOME_OF)]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'aimc_robust' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return __all__
