"""What trained models score under weight errors: chips, estimates with intervals, yield, paired differences."""

from aimc_robust.evaluation.accuracy import evaluate
from aimc_robust.evaluation.attribution import Attribution, attribute
from aimc_robust.evaluation.chips import Condition, Deployment, evaluate_chips
from aimc_robust.evaluation.comparison import difference_table
from aimc_robust.evaluation.components import VarianceComponents, variance_components
from aimc_robust.evaluation.correction import holm
from aimc_robust.evaluation.effective_error import EquivalentSigma, equivalent_sigma, layer_errors
from aimc_robust.evaluation.estimate import AccuracyEstimate, Worst
from aimc_robust.evaluation.paired import PairedDifference, paired_difference
from aimc_robust.evaluation.prediction import Prediction, predict_loss
from aimc_robust.evaluation.sampling import sampling_half_width
from aimc_robust.evaluation.stopping import PILOT, chips_needed, stein_interval
from aimc_robust.evaluation.validity import Validity, validate_prediction
from aimc_robust.evaluation.workers import WorkerError
from aimc_robust.evaluation.yields import Yield, clopper_pearson

__all__ = [
    "PILOT",
    "AccuracyEstimate",
    "Attribution",
    "Condition",
    "Deployment",
    "EquivalentSigma",
    "PairedDifference",
    "Prediction",
    "Validity",
    "VarianceComponents",
    "WorkerError",
    "Worst",
    "Yield",
    "attribute",
    "chips_needed",
    "clopper_pearson",
    "difference_table",
    "equivalent_sigma",
    "evaluate",
    "evaluate_chips",
    "holm",
    "layer_errors",
    "paired_difference",
    "predict_loss",
    "sampling_half_width",
    "stein_interval",
    "validate_prediction",
    "variance_components",
]
