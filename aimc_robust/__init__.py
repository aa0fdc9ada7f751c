"""Train networks that survive analog memory, predict their accuracy on a device, compare devices and methods.

Names are imported when they are first used, so that the command line starts before torch is loaded.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the same names for editors and type checkers
    from aimc_robust import plot as plot
    from aimc_robust.analysis.diagnostics import Diagnostics as Diagnostics
    from aimc_robust.analysis.diagnostics import DiagnosticsConfig as DiagnosticsConfig
    from aimc_robust.analysis.hessian_spectrum import HessianSpectrum as HessianSpectrum
    from aimc_robust.analysis.hessian_spectrum import hessian_spectrum as hessian_spectrum
    from aimc_robust.analysis.loss_growth import loss_growth as loss_growth
    from aimc_robust.analysis.loss_landscape import interpolation_losses as interpolation_losses
    from aimc_robust.analysis.loss_landscape import loss_landscape as loss_landscape
    from aimc_robust.analysis.pac_bayes import pac_bayes_bound as pac_bayes_bound
    from aimc_robust.analysis.sharpness import ascent_sharpness as ascent_sharpness
    from aimc_robust.analysis.sharpness import average_sharpness as average_sharpness
    from aimc_robust.analysis.sharpness import gradient_sharpness as gradient_sharpness
    from aimc_robust.data.augmentation import Augmentation as Augmentation
    from aimc_robust.data.in_memory import Images as Images
    from aimc_robust.data.streaming import StreamedImages as StreamedImages
    from aimc_robust.devices.card import Card as Card
    from aimc_robust.devices.cell_model import CellModel as CellModel
    from aimc_robust.devices.library import card_names as card_names
    from aimc_robust.devices.library import load_card as load_card
    from aimc_robust.devices.library import preset_names as preset_names
    from aimc_robust.errors import AimcError as AimcError
    from aimc_robust.evaluation.accuracy_prediction import AccuracyPrediction as AccuracyPrediction
    from aimc_robust.evaluation.accuracy_prediction import predict_accuracy as predict_accuracy
    from aimc_robust.evaluation.attribution import Attribution as Attribution
    from aimc_robust.evaluation.attribution import attribute as attribute
    from aimc_robust.evaluation.equivalent_noise import EquivalentSigma as EquivalentSigma
    from aimc_robust.evaluation.equivalent_noise import equivalent_sigma as equivalent_sigma
    from aimc_robust.evaluation.evaluate import evaluate as evaluate
    from aimc_robust.evaluation.evaluation_grid import EvaluationGrid as EvaluationGrid
    from aimc_robust.evaluation.evaluation_grid import evaluate_grid as evaluate_grid
    from aimc_robust.evaluation.keep_digital import KeptDigital as KeptDigital
    from aimc_robust.evaluation.keep_digital import keep_digital as keep_digital
    from aimc_robust.evaluation.layer_errors import layer_errors as layer_errors
    from aimc_robust.evaluation.loss_prediction import LossPrediction as LossPrediction
    from aimc_robust.evaluation.loss_prediction import predict_loss as predict_loss
    from aimc_robust.evaluation.prediction_check import PredictionCheck as PredictionCheck
    from aimc_robust.evaluation.prediction_check import check_prediction as check_prediction
    from aimc_robust.evaluation.requirements.result import DeviceRequirements as DeviceRequirements
    from aimc_robust.evaluation.requirements.run import device_requirements as device_requirements
    from aimc_robust.experiments.compare import compare as compare
    from aimc_robust.experiments.spec.loading import load_spec as load_spec
    from aimc_robust.fitting.fit import fit_card as fit_card
    from aimc_robust.fitting.fit_result import Fit as Fit
    from aimc_robust.fitting.verify import Verification as Verification
    from aimc_robust.fitting.verify import verify_card as verify_card
    from aimc_robust.hardware.calibration.batchnorm_recalibration import recalibrate_batchnorm as recalibrate_batchnorm
    from aimc_robust.hardware.calibration.converter_ranges import calibrate as calibrate
    from aimc_robust.hardware.calibration.signals import converter_signals as converter_signals
    from aimc_robust.hardware.config.converters import ADC as ADC
    from aimc_robust.hardware.config.converters import DAC as DAC
    from aimc_robust.hardware.config.converters import Periphery as Periphery
    from aimc_robust.hardware.config.crossbar import Crossbar as Crossbar
    from aimc_robust.hardware.config.deployment import Deployment as Deployment
    from aimc_robust.hardware.config.device import Device as Device
    from aimc_robust.hardware.config.device_states import DeviceStates as DeviceStates
    from aimc_robust.hardware.config.fault_map import FaultMap as FaultMap
    from aimc_robust.hardware.config.mapping import WeightMapping as WeightMapping
    from aimc_robust.hardware.config.parallel_devices import ParallelDevices as ParallelDevices
    from aimc_robust.hardware.config.parasitics import Parasitics as Parasitics
    from aimc_robust.hardware.config.placement import Placement as Placement
    from aimc_robust.hardware.config.presets import Preset as Preset
    from aimc_robust.hardware.config.presets import load_preset as load_preset
    from aimc_robust.hardware.config.ranges import ConverterRanges as ConverterRanges
    from aimc_robust.hardware.config.ranges import LayerRanges as LayerRanges
    from aimc_robust.hardware.config.standard_mappings import BitSliced as BitSliced
    from aimc_robust.hardware.config.tiling import ArraySize as ArraySize
    from aimc_robust.hardware.config.weight_layout import WeightLayout as WeightLayout
    from aimc_robust.hardware.conversion.coverage import Coverage as Coverage
    from aimc_robust.hardware.conversion.mapping_summary import MappingSummary as MappingSummary
    from aimc_robust.hardware.conversion.prepare import coverage as coverage
    from aimc_robust.hardware.crosssim.json_export import crosssim_json as crosssim_json
    from aimc_robust.hardware.device_states import device_states as device_states
    from aimc_robust.hardware.draw_faults import draw_faults as draw_faults
    from aimc_robust.hardware.program import program as program
    from aimc_robust.integrations.aihwkit_config import import_rpu_config as import_rpu_config
    from aimc_robust.integrations.aihwkit_weights import import_aihwkit as import_aihwkit
    from aimc_robust.models.pretrained import load_checkpoint as load_checkpoint
    from aimc_robust.noise.base import WeightNoise as WeightNoise
    from aimc_robust.noise.distributions import Gaussian as Gaussian
    from aimc_robust.noise.distributions import Laplace as Laplace
    from aimc_robust.noise.perturbation import perturbed as perturbed
    from aimc_robust.seeding import Axes as Axes
    from aimc_robust.statistics.binomial import Yield as Yield
    from aimc_robust.statistics.crossed_effects import VarianceComponents as VarianceComponents
    from aimc_robust.statistics.estimate import Estimate as Estimate
    from aimc_robust.statistics.multiple_testing import holm as holm
    from aimc_robust.statistics.paired_difference import PairedDifference as PairedDifference
    from aimc_robust.statistics.paired_difference import difference_table as difference_table
    from aimc_robust.statistics.paired_difference import paired_difference as paired_difference
    from aimc_robust.statistics.primary_metric import PrimaryMetric as PrimaryMetric
    from aimc_robust.tasks.classification import Classification as Classification
    from aimc_robust.tasks.distillation import Distillation as Distillation
    from aimc_robust.tasks.language_modelling import LanguageModelling as LanguageModelling
    from aimc_robust.tasks.model_score import ModelScore as ModelScore
    from aimc_robust.tasks.multilabel import Multilabel as Multilabel
    from aimc_robust.tasks.regression import Regression as Regression
    from aimc_robust.tasks.segmentation import Segmentation as Segmentation
    from aimc_robust.tasks.task import Task as Task
    from aimc_robust.training.config import EarlyStopping as EarlyStopping
    from aimc_robust.training.config import TrainingConfig as TrainingConfig
    from aimc_robust.training.fabric import Machine as Machine
    from aimc_robust.training.loop import TrainingResult as TrainingResult
    from aimc_robust.training.loop import train as train
    from aimc_robust.training.methods.array_aware import ArrayAware as ArrayAware
    from aimc_robust.training.methods.base import Method as Method
    from aimc_robust.training.methods.learned_ranges import LearnedRanges as LearnedRanges
    from aimc_robust.training.methods.ramp import Ramp as Ramp
    from aimc_robust.training.methods.range_state import learned_ranges as learned_ranges
    from aimc_robust.training.methods.rwp import RWP as RWP
    from aimc_robust.training.methods.rwp import MixedRWP as MixedRWP
    from aimc_robust.training.methods.sam import SAM as SAM
    from aimc_robust.training.methods.sam import AdaptiveSAM as AdaptiveSAM
    from aimc_robust.training.methods.sgd import SGD as SGD
    from aimc_robust.training.robust_optimizer import RobustOptimizer as RobustOptimizer
    from aimc_robust.training.weight_clipping import WeightClipping as WeightClipping

__version__ = "0.2.0"

_MODULES = {
    "analysis.diagnostics": ["Diagnostics", "DiagnosticsConfig"],
    "analysis.hessian_spectrum": ["HessianSpectrum", "hessian_spectrum"],
    "analysis.loss_landscape": ["interpolation_losses", "loss_landscape"],
    "analysis.sharpness": ["ascent_sharpness", "average_sharpness", "gradient_sharpness"],
    "analysis.loss_growth": ["loss_growth"],
    "analysis.pac_bayes": ["pac_bayes_bound"],
    "data.augmentation": ["Augmentation"],
    "data.in_memory": ["Images"],
    "data.streaming": ["StreamedImages"],
    "devices.card": ["Card"],
    "devices.cell_model": ["CellModel"],
    "devices.library": ["card_names", "load_card", "preset_names"],
    "errors": ["AimcError"],
    "evaluation.accuracy_prediction": ["AccuracyPrediction", "predict_accuracy"],
    "evaluation.attribution": ["Attribution", "attribute"],
    "evaluation.equivalent_noise": ["EquivalentSigma", "equivalent_sigma"],
    "evaluation.evaluate": ["evaluate"],
    "evaluation.evaluation_grid": ["EvaluationGrid", "evaluate_grid"],
    "evaluation.keep_digital": ["KeptDigital", "keep_digital"],
    "evaluation.layer_errors": ["layer_errors"],
    "evaluation.loss_prediction": ["LossPrediction", "predict_loss"],
    "evaluation.prediction_check": ["PredictionCheck", "check_prediction"],
    "evaluation.requirements.result": ["DeviceRequirements"],
    "evaluation.requirements.run": ["device_requirements"],
    "experiments.compare": ["compare"],
    "experiments.spec.loading": ["load_spec"],
    "fitting.fit": ["fit_card"],
    "fitting.fit_result": ["Fit"],
    "fitting.verify": ["Verification", "verify_card"],
    "hardware.calibration.batchnorm_recalibration": ["recalibrate_batchnorm"],
    "hardware.calibration.converter_ranges": ["calibrate"],
    "hardware.calibration.signals": ["converter_signals"],
    "hardware.config.converters": ["ADC", "DAC", "Periphery"],
    "hardware.config.crossbar": ["Crossbar"],
    "hardware.config.placement": ["Placement"],
    "hardware.config.deployment": ["Deployment"],
    "hardware.config.device": ["Device"],
    "hardware.config.device_states": ["DeviceStates"],
    "hardware.config.fault_map": ["FaultMap"],
    "hardware.config.mapping": ["WeightMapping"],
    "hardware.config.parasitics": ["Parasitics"],
    "hardware.config.presets": ["Preset", "load_preset"],
    "hardware.config.ranges": ["ConverterRanges", "LayerRanges"],
    "hardware.config.parallel_devices": ["ParallelDevices"],
    "hardware.config.standard_mappings": ["BitSliced"],
    "hardware.config.tiling": ["ArraySize"],
    "hardware.config.weight_layout": ["WeightLayout"],
    "hardware.conversion.coverage": ["Coverage"],
    "hardware.conversion.mapping_summary": ["MappingSummary"],
    "hardware.conversion.prepare": ["coverage"],
    "hardware.crosssim.json_export": ["crosssim_json"],
    "hardware.device_states": ["device_states"],
    "hardware.draw_faults": ["draw_faults"],
    "hardware.program": ["program"],
    "integrations.aihwkit_config": ["import_rpu_config"],
    "integrations.aihwkit_weights": ["import_aihwkit"],
    "models.pretrained": ["load_checkpoint"],
    "noise.base": ["WeightNoise"],
    "noise.distributions": ["Gaussian", "Laplace"],
    "noise.perturbation": ["perturbed"],
    "seeding": ["Axes"],
    "statistics.binomial": ["Yield"],
    "statistics.crossed_effects": ["VarianceComponents"],
    "statistics.estimate": ["Estimate"],
    "statistics.multiple_testing": ["holm"],
    "statistics.paired_difference": ["PairedDifference", "difference_table", "paired_difference"],
    "statistics.primary_metric": ["PrimaryMetric"],
    "tasks.classification": ["Classification"],
    "tasks.distillation": ["Distillation"],
    "tasks.language_modelling": ["LanguageModelling"],
    "tasks.model_score": ["ModelScore"],
    "tasks.multilabel": ["Multilabel"],
    "tasks.regression": ["Regression"],
    "tasks.segmentation": ["Segmentation"],
    "tasks.task": ["Task"],
    "training.config": ["EarlyStopping", "TrainingConfig"],
    "training.fabric": ["Machine"],
    "training.loop": ["TrainingResult", "train"],
    "training.methods.array_aware": ["ArrayAware"],
    "training.methods.base": ["Method"],
    "training.methods.learned_ranges": ["LearnedRanges"],
    "training.methods.ramp": ["Ramp"],
    "training.methods.range_state": ["learned_ranges"],
    "training.methods.rwp": ["RWP", "MixedRWP"],
    "training.methods.sam": ["SAM", "AdaptiveSAM"],
    "training.methods.sgd": ["SGD"],
    "training.robust_optimizer": ["RobustOptimizer"],
    "training.weight_clipping": ["WeightClipping"],
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = ["__version__", "plot", *sorted(_MODULE_OF)]


def __getattr__(name: str) -> Any:
    if name == "plot":
        return importlib.import_module("aimc_robust.plot")
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'aimc_robust' has no attribute {name!r}")
    return getattr(importlib.import_module(f"aimc_robust.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
