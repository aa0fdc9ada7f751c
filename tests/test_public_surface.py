"""The public surface: the names, their modules, their documentation, and the imports that editors read."""

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path
from types import ModuleType

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
    "converter_signals", "plot",
    "loss_growth", "pac_bayes_bound", "HessianSpectrum", "hessian_spectrum", "gradient_sharpness", "loss_landscape",
    "interpolation_losses",
    "crosssim_json", "device_states", "difference_table", "draw_faults", "equivalent_sigma", "evaluate",
    "evaluate_grid", "fit_card", "holm", "import_aihwkit", "import_rpu_config", "keep_digital", "layer_errors",
    "learned_ranges", "load_card", "load_checkpoint", "load_preset", "load_spec", "paired_difference", "perturbed",
    "predict_accuracy", "predict_loss", "preset_names", "program", "recalibrate_batchnorm", "train", "verify_card",
}  # fmt: skip
OBJECTS = sorted(NAMES - {"__version__", "plot"})
PLOTS = {
    "arrays", "drift", "estimates", "landscape", "over_time", "programming_error", "ranges", "read_noise", "states",
    "waterfall", "yields",
}  # fmt: skip


def imports_for_editors(package: ModuleType) -> dict[str, str]:
    """Public name -> module, of the imports under TYPE_CHECKING."""
    tree = ast.parse(Path(package.__file__).read_text(encoding="utf-8"))
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in guarded.body if isinstance(node, ast.ImportFrom)]
    assert len(imports) == len(guarded.body)
    assert all(alias.name == alias.asname for node in imports for alias in node.names)  # `as` exports the name
    return {alias.name: node.module for node in imports for alias in node.names}


def test_the_names_are_these():
    assert set(ar.__all__) == set(dir(ar)) == NAMES
    assert len(ar.__all__) == len(NAMES)


def test_editors_read_the_same_names_from_the_same_modules():
    modules = {name: f"aimc_robust.{module}" for name, module in ar._MODULE_OF.items()}
    assert imports_for_editors(ar) == modules | {"plot": "aimc_robust"}
    modules = {name: f"aimc_robust.plot.{module}" for name, module in ar.plot._MODULE_OF.items()}
    assert imports_for_editors(ar.plot) == modules
    assert set(ar.plot.__all__) == set(dir(ar.plot)) == set(modules) == PLOTS


@for_each("name", sorted(PLOTS))
def test_a_plot_takes_axes_and_is_documented(name):
    plot = getattr(ar.plot, name)
    assert inspect.isfunction(plot)  # and no module of the same name
    assert plot.__module__ == f"aimc_robust.plot.{ar.plot._MODULE_OF[name]}"
    parameters = inspect.signature(plot).parameters
    assert parameters["ax"].default is None
    assert inspect.signature(plot).return_annotation == "Axes"
    for heading in ("Args:", "Returns:", "Raises:", "Example:", *(f"{each}:" for each in parameters)):
        assert heading in inspect.getdoc(plot)


def test_no_plot_is_imported_before_it_is_used():
    code = "import sys, aimc_robust; aimc_robust.plot; assert not {'matplotlib', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


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
    with pytest.raises(AttributeError, match="'histogram'"):
        _ = ar.plot.histogram
