"""What trained models score under weight errors: chips, estimates with intervals, yield, paired differences."""

from aimc_robust.evaluation.accuracy import evaluate
from aimc_robust.evaluation.chips import Condition, Deployment, evaluate_chips
from aimc_robust.evaluation.comparison import difference_table
from aimc_robust.evaluation.components import VarianceComponents, variance_components
from aimc_robust.evaluation.correction import holm
from aimc_robust.evaluation.estimate import AccuracyEstimate, Worst
from aimc_robust.evaluation.paired import PairedDifference, paired_difference
from aimc_robust.evaluation.sampling import sampling_half_width
from aimc_robust.evaluation.stopping import PILOT, chips_needed, stein_interval
from aimc_robust.evaluation.yields import Yield, clopper_pearson

__all__ = [
    "PILOT",
    "AccuracyEstimate",
    "Condition",
    "Deployment",
    "PairedDifference",
    "VarianceComponents",
    "Worst",
    "Yield",
    "chips_needed",
    "clopper_pearson",
    "difference_table",
    "evaluate",
    "evaluate_chips",
    "holm",
    "paired_difference",
    "sampling_half_width",
    "stein_interval",
    "variance_components",
]
