"""What trained models score under weight errors: chips, estimates with intervals, paired differences."""

from aimc_robust.evaluation.chips import Condition, Deployment, evaluate, evaluate_chips
from aimc_robust.evaluation.estimate import AccuracyEstimate
from aimc_robust.evaluation.paired import PairedDifference, paired_difference

__all__ = [
    "AccuracyEstimate",
    "Condition",
    "Deployment",
    "PairedDifference",
    "evaluate",
    "evaluate_chips",
    "paired_difference",
]
