"""The public surface: the names, their modules, their documentation, and the imports that editors read."""

import ast
import importlib
import inspect
from pathlib import Path

import pytest
from support.for_each import for_each

import aimc_robust as ar

NAMES = {
    "DeviceRequirements", "device_requirements",
    "ADC", "AccuracyPrediction", "AdaptiveSAM", "AimcError", "ArrayAware", "ArraySize", "Attribution", "Augmentation",
    "Axes", "BitSliced",
    "Card", "CellModel", "Classification", "ConverterRanges", "Coverage", "Crossbar", "DAC", "Deployment", "Device",
    "DeviceStates", "Diagnostics", "DiagnosticsConfig", "Distillation", "EarlyStopping", "EquivalentSigma", "Estimate",
    "EvaluationGrid", "FaultMap", "Fit", "Gaussian", "Images", "KeptDigital", "LanguageModelling", "Laplace",
    "LayerRanges", "LearnedRanges", "LossPrediction", "Machine", "MappingSummary", "Method", "MixedRWP", "ModelScore",
    "Multilabel", "PairedDifference", "ParallelDevices", "Parasitics", "Periphery", "Placement", "PredictionCheck",
    "Preset", "PrimaryMetric", "RWP", "Ramp", "Regression", "RobustOptimizer", "SAM", "SGD", "Segmentation",
    "StreamedImages", "Task", "TrainingConfig", "TrainingResult", "VarianceComponents", "Verification",
    "WeightClipping", "WeightLayout", "WeightMapping", "WeightNoise", "Yield", "__version__", "ascent_sharpness",
    "attribute", "average_sharpness", "calibrate", "card_names", "check_prediction", "compare", "coverage",
    "loss_growth", "pac_bayes_bound", "HessianSpectrum", "hessian_spectrum", "gradient_sharpness", "loss_landscape",
    "interpolation_losses",
    "crosssim_json", "device_states", "difference_table", "draw_faults", "equivalent_sigma", "evaluate",
    "evaluate_grid", "fit_card", "holm", "import_aihwkit", "import_rpu_config", "keep_digital", "layer_errors",
    "learned_ranges", "load_card", "load_checkpoint", "load_preset", "load_spec", "paired_difference", "perturbed",
    "predict_accuracy", "predict_loss", "preset_names", "program", "recalibrate_batchnorm", "train", "verify_card",
}  # fmt: skip
OBJECTS = sorted(NAMES - {"__version__"})


def imports_for_editors() -> dict[str, str]:
    """Public name -> module, of the imports under TYPE_CHECKING."""
    tree = ast.parse(Path(ar.__file__).read_text(encoding="utf-8"))
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in guarded.body if isinstance(node, ast.ImportFrom)]
    assert len(imports) == len(guarded.body)
    assert all(alias.name == alias.asname for node in imports for alias in node.names)  # `as` exports the name
    return {alias.name: node.module for node in imports for alias in node.names}


def test_the_names_are_these():
    assert set(ar.__all__) == set(dir(ar)) == NAMES
    assert len(ar.__all__) == len(NAMES)


def test_editors_read_the_same_names_from_the_same_modules():
    assert imports_for_editors() == {name: f"aimc_robust.{module}" for name, module in ar._MODULE_OF.items()}


@for_each("name", OBJECTS)
def test_a_name_is_the_object_of_its_defining_module_and_documented(name):
    thing, module = getattr(ar, name), f"aimc_robust.{ar._MODULE_OF[name]}"
    assert thing is getattr(importlib.import_module(module), name)
    assert thing.__module__ == module
    documentation = inspect.getdoc(thing)
    assert documentation
    assert not documentation.startswith(f"{name}(")  # dataclasses without a docstring get their signature
    if inspect.isclass(thing):
        assert thing.__doc__ is not None


@for_each("name", OBJECTS)
def test_every_public_method_is_documented_and_every_argument_has_a_type(name):
    thing = getattr(ar, name)
    members = [thing]
    if inspect.isclass(thing):
        own = {key: member for key, member in vars(thing).items() if not key.startswith("_")}
        members = [member for member in own.values() if inspect.isfunction(member)]
        properties = [member for member in own.values() if isinstance(member, property)]
        assert all(member.__doc__ for member in [*members, *properties])
    for member in members:
        arguments = list(inspect.signature(member).parameters.values())
        untyped = [a.name for a in arguments if a.annotation is a.empty and a.name not in ("self", "cls")]
        assert untyped == [], member


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'Crosbar'"):
        _ = ar.Crosbar
