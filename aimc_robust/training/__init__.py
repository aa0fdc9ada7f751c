"""Training methods, their ramps, and the training loop."""

from aimc_robust.training.config import EarlyStopping, TrainingConfig
from aimc_robust.training.loop import Trained, train
from aimc_robust.training.method import Method
from aimc_robust.training.mixed_rwp import MixedRWP
from aimc_robust.training.ramp import Ramp
from aimc_robust.training.rwp import RWP
from aimc_robust.training.sam import SAM
from aimc_robust.training.sgd import SGD

METHODS: dict[str, type[Method]] = {"sgd": SGD, "sam": SAM, "rwp": RWP, "m-rwp": MixedRWP}

__all__ = [
    "METHODS",
    "RWP",
    "SAM",
    "SGD",
    "EarlyStopping",
    "Method",
    "MixedRWP",
    "Ramp",
    "Trained",
    "TrainingConfig",
    "train",
]
