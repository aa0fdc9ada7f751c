"""Every public function that takes data: each kind of data gives the numbers of a list of batches, or one sentence."""

import copy
import functools
import inspect
import math

import numpy as np
import pandas as pd
import pytest
import torch
from support.for_each import for_each
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import aimc_robust as ar
from aimc_robust.data.lazy import LazyImages
from aimc_robust.seeding import global_seed, seed_global_generators

BYTES = torch.randint(0, 256, (24, 1, 4, 4), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
LABELS = torch.arange(24) % 3
INPUTS = BYTES.float() / 255
LOSS = nn.CrossEntropyLoss()
CROSSBAR = ar.Crossbar("rram-wan2022", adc=ar.ADC(bits=8))


with global_seed(0):
    NET = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)).eval()


def net():
    return copy.deepcopy(NET)


def batches():
    return [(INPUTS[:12], LABELS[:12]), (INPUTS[12:], LABELS[12:])]


def train(data, validation):
    config = ar.TrainingConfig(epochs=1, batch_size=12)
    return ar.train(net(), ar.SGD(), config, training_set=data, validation_set=validation).history[0]["loss"]


def diagnose(training):
    probe = ar.Diagnostics(
        ar.DiagnosticsConfig(sigmas=(0.1,), batch_size=12), training=training, test=training, loss_fn=LOSS
    )
    return probe(net(), ar.SGD(), 1)["train_loss@0.1"]


def recalibrate(data):
    on_chip = ar.program(net(), CROSSBAR.replace(adc=None), chip=0)
    return ar.recalibrate_batchnorm(on_chip, data)(INPUTS).abs().sum().item()


def compensate(data):
    deployment = ar.Deployment(compensation=("batchnorm",), data=data)
    on_chip = ar.program(net(), CROSSBAR.replace(adc=None), chip=0, deployment=deployment)
    return on_chip(INPUTS).abs().sum().item()


@functools.cache
def ranges():
    return ar.calibrate(net(), CROSSBAR, batches())


NOISE = ar.Gaussian(0.1)
LABELLED = {  # functions of labelled batches
    "evaluate": lambda data: ar.evaluate(net(), data, NOISE, chips=2).mean,
    "evaluate_grid": lambda data: ar.evaluate_grid(net(), data, {"noise": NOISE}, chips=2).to_frame()["mean"][0],
    "attribute": lambda data: ar.attribute(net(), data, CROSSBAR.replace(adc=None), chips=2).crossbar,
    "equivalent_sigma": lambda data: ar.equivalent_sigma(net(), data, NOISE, chips=2).digital,
    "predict_loss": lambda data: ar.predict_loss(net(), data, {"noise": NOISE}).table["clean_loss"][0],
    "predict_accuracy": lambda data: ar.predict_accuracy(net(), data, {"noise": NOISE}, passes=2).table["predicted"][0],
    "check_prediction": lambda data: ar.check_prediction(net(), data, {"noise": NOISE}, scales=[1.0], chips=2).table[
        "mc_loss"
    ][0],
    "keep_digital": lambda data: (
        ar.keep_digital(
            net(), data, CROSSBAR.replace(adc=None), required=0.0, chips=2, rank_by="measured", ranking_chips=2
        ).digital
    ),
    "device_requirements": lambda data: (
        ar.device_requirements(net(), data, drop=50.0, required_yield=0.5, quantities=["dac-bits"], jobs=1).digital
    ),
    "average_sharpness": lambda data: ar.average_sharpness(net(), LOSS, data, NOISE),
    "ascent_sharpness": lambda data: ar.ascent_sharpness(net(), LOSS, data, rho=0.05),
    "gradient_sharpness": lambda data: ar.gradient_sharpness(net(), LOSS, data, ar.SAM(rho=0.05)),
    "hessian_spectrum": lambda data: ar.hessian_spectrum(net(), LOSS, data, steps=2, eigenvalues=1).trace,
    "loss_landscape": lambda data: ar.loss_landscape(net(), LOSS, data, points=2)[0, 0],
    "interpolation_losses": lambda data: ar.interpolation_losses(net(), net(), LOSS, data, points=2)[0],
    "loss_growth": lambda data: ar.loss_growth(net(), data, [0.1], draws=2, probes=0).loss[1],
    "pac_bayes_bound": lambda data: ar.pac_bayes_bound(
        net(), data, sigma_train=[0.1], sigma_test=[0.1], draws=2
    ).empirical[0],
}
WHOLE = {  # functions of all data at once
    "train": lambda data: train(data, (INPUTS, LABELS)),
    "train, validation": lambda data: train((INPUTS, LABELS), data),
    "Diagnostics": diagnose,
}
UNLABELLED = {  # functions of inputs alone
    "calibrate": lambda data: ar.calibrate(net(), CROSSBAR, data)["0"].inputs[1],
    "converter_signals": lambda data: ar.converter_signals(net(), CROSSBAR, data, ranges())["max"].sum(),
    "recalibrate_batchnorm": recalibrate,
    "Deployment": compensate,
}
METHOD = {"Method.backward": lambda data: float(ar.SGD().backward(net(), LOSS, data, step=1))}

ONE_BATCH = {
    "Images": lambda: ar.Images(INPUTS, LABELS),
    "augmented Images": lambda: ar.Images(INPUTS, LABELS, augmentation=ar.Augmentation(crop=1, flip=True)),
    "pair": lambda: (INPUTS, LABELS),
    "pair with int32": lambda: (INPUTS, LABELS.int()),
    "list of two tensors": lambda: [INPUTS, LABELS],
    "lazy pair": lambda: (LazyImages(BYTES, mean=[0.0], std=[1.0]), LABELS),
    "one batch": lambda: [(INPUTS, LABELS)],
    "arrays": lambda: (INPUTS.numpy(), LABELS.numpy()),
    "batches of arrays": lambda: [(INPUTS.numpy(), LABELS.numpy().astype("uint16"))],
    "batches of float64": lambda: [(INPUTS.double(), LABELS)],
    "lists": lambda: [(INPUTS.tolist(), LABELS.tolist())],
}
SEVERAL_BATCHES = {
    "list": batches,
    "tuple": lambda: tuple(batches()),
    "generator": lambda: iter(batches()),
    "DataLoader": lambda: DataLoader(TensorDataset(INPUTS, LABELS), batch_size=12),
}
INPUTS_ONLY = {"list of inputs": lambda: [INPUTS[:12], INPUTS[12:]], "inputs alone": lambda: iter([INPUTS])}
OTHER = {
    "None": lambda: None,
    "text": lambda: "digits",
    "number": lambda: 3,
    "tensor": lambda: INPUTS,
    "lazy images": lambda: LazyImages(BYTES, mean=[0.0], std=[1.0]),
    "dict": lambda: {"x": INPUTS, "y": LABELS},
    "nothing": list,
    "empty pair": lambda: (INPUTS[:0], LABELS[:0]),
    "triple": lambda: (INPUTS, LABELS, LABELS),
    "triples": lambda: [(INPUTS, LABELS, LABELS)],
    "unequal pair": lambda: (INPUTS, LABELS[:5]),
    "bytes": lambda: [(BYTES, LABELS)],
    "unequal lists": lambda: [([[1.0], [1.0, 2.0]], [0, 1])],
    "lists of texts": lambda: [(["cat", "dog"], [0, 1])],
    "texts": lambda: ["digits", "letters"],
    "numbers": lambda: [1, 2],
    "None in a list": lambda: [None],
    "object": object,
    "frame": lambda: pd.DataFrame({"x": [1.0]}),
    "array": lambda: INPUTS.numpy(),
}
KINDS = {**ONE_BATCH, **SEVERAL_BATCHES, **INPUTS_ONLY, **OTHER}
TAKEN = {
    "labelled": {*ONE_BATCH, *SEVERAL_BATCHES},
    "whole": {"Images", "pair", "pair with int32", "list of two tensors", "lazy pair", "arrays"},
    "unlabelled": {*ONE_BATCH, *SEVERAL_BATCHES, *INPUTS_ONLY},
    "method": {"one batch", "batches of float64"},
}
FUNCTIONS = {
    name: (group, function)
    for group, functions in zip(TAKEN, (LABELLED, WHOLE, UNLABELLED, METHOD), strict=True)
    for name, function in functions.items()
}
DATA_PARAMETERS = {"batches", "training_set", "validation_set", "training", "test", "data"}


def taken(name, kind):
    """Whether a function takes a kind of data."""
    if (name, kind) == ("train", "lazy pair"):
        return False  # training draws images in random order: `StreamedImages` reads them ahead
    if kind == "augmented Images":
        return FUNCTIONS[name][0] != "method"
    return kind in TAKEN[FUNCTIONS[name][0]]


@functools.cache
def value_of(name, kind):
    """What a function gives for a kind of data; the same at every call."""
    seed_global_generators(0)
    return FUNCTIONS[name][1](KINDS[kind]())


@pytest.mark.slow
@pytest.mark.parametrize("name", FUNCTIONS)
@for_each("kind", KINDS)
def test_a_kind_of_data_is_taken_or_refused_in_a_sentence(name, kind):
    group, function = FUNCTIONS[name]
    if not taken(name, kind):
        with pytest.raises(ar.AimcError, match=r"expected|must|needs|takes|a batch is") as refusal:
            function(KINDS[kind]())
        assert "\n" not in str(refusal.value)
        return
    value = value_of(name, kind)
    assert math.isfinite(value)
    reference = {"labelled": "list" if kind in SEVERAL_BATCHES else "one batch", "whole": "pair"}.get(
        group, "one batch"
    )
    if not (name == "train" and kind == "augmented Images") and (group != "unlabelled" or kind not in SEVERAL_BATCHES):
        assert value == pytest.approx(value_of(name, reference), rel=1e-5) or kind == "list of inputs"


def test_every_public_function_that_takes_data_is_listed():
    found = {
        name
        for name in ar.__all__
        if callable(function := getattr(ar, name))
        and (inspect.isfunction(function) or inspect.isclass(function))
        and DATA_PARAMETERS & _parameters(function)
    }
    not_data = {"SAM", "AdaptiveSAM", "MixedRWP", "ArrayAware", "Fit", "Preset"}
    assert found - not_data == {name.partition(",")[0] for name in FUNCTIONS} - {"Method.backward"}


def _parameters(function):
    try:
        return set(inspect.signature(function).parameters)
    except ValueError:
        return set()


def test_bytes_without_normalization_are_named():
    with pytest.raises(ar.AimcError, match=r"\(24, 1, 4, 4\), torch.uint8.*normalization"):
        ar.evaluate(net(), [(BYTES, LABELS)], None)


def test_labels_that_are_no_whole_numbers_are_named():
    with pytest.raises(ar.AimcError, match=r"torch\.float64"):
        ar.evaluate(net(), [(np.zeros((2, 1, 4, 4)), np.zeros(2))], None)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_float64_inputs_are_computed_in_the_type_of_the_model(dtype):
    model = net().to(dtype)
    expected = ar.evaluate(model, [(INPUTS.to(dtype), LABELS)], None).table
    assert ar.evaluate(model, [(INPUTS.double(), LABELS)], None).table.equals(expected)


class Untraceable(nn.Module):
    """A network whose BatchNorm is folded by running it on the first image."""

    def __init__(self):
        super().__init__()
        self.layers = net()

    def forward(self, x):
        return self.layers(x * min(1.0, float(x.abs().max()) + 1.0))


def test_batchnorm_is_folded_on_float64_inputs_too():
    model, crossbar = Untraceable(), CROSSBAR.replace(adc=None)
    model.layers[1].weight.data.fill_(3.0)
    expected = ar.evaluate(model, [(INPUTS, LABELS)], crossbar, chips=2, strict=False).table
    assert ar.evaluate(model, [(INPUTS.double(), LABELS)], crossbar, chips=2, strict=False).table.equals(expected)
