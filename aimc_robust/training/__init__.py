"""Training methods, their ramps, and the training loop."""

from aimc_robust.training.adaptive_sam import AdaptiveSAM
from aimc_robust.training.augmentation import Augmentation
from aimc_robust.training.config import EarlyStopping, TrainingConfig
from aimc_robust.training.fabric import Machine
from aimc_robust.training.images import Images
from aimc_robust.training.loop import Trained, train
from aimc_robust.training.method import Method
from aimc_robust.training.mixed_rwp import MixedRWP
from aimc_robust.training.optimizer import RobustOptimizer
from aimc_robust.training.ramp import Ramp
from aimc_robust.training.rwp import RWP
from aimc_robust.training.sam import SAM
from aimc_robust.training.sgd import SGD

METHODS: dict[str, type[Method]] = {"sgd": SGD, "sam": SAM, "asam": AdaptiveSAM, "rwp": RWP, "m-rwp": MixedRWP}

__all__ = [
    "METHODS",
    "RWP",
    "SAM",
    "SGD",
    "AdaptiveSAM",
    "Augmentation",
    "EarlyStopping",
    "Images",
    "Machine",
    "Method",
    "MixedRWP",
    "Ramp",
    "RobustOptimizer",
    "Trained",
    "TrainingConfig",
    "train",
]
