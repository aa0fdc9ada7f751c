"""README's support matrix is what the code does: each cell is tried."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

import aimc_robust as ar
from aimc_robust.errors import InputError
from aimc_robust.hardware.crosssim.backend import _check_supported
from aimc_robust.noise.analog_weights import analog_weights

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
NOISY = ar.Crossbar("pcm-nandakumar2019", programming=False, drift=False)
COARSE = ar.Crossbar("ideal", rows=3, dac=ar.DAC(bits=3), adc=ar.ADC(bits=3))


def table(heading: str) -> dict[str, dict[str, str]]:
    """The table under a heading of README: rows by their first cell, cells by the head of their column."""
    text = README.split(f"\n### {heading}\n")[1].split("\n#")[0]
    head, _, *rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in text.splitlines() if line[:1] == "|"]
    return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows}


LAYERS, DEVICES, OPTIONS = table("Layers"), table("Devices"), table("Backends")
NAMES = [(row, name) for row in LAYERS for name in re.findall(r"`(\w+)`", row)]


class Scores(nn.Module):
    """A layer whose outputs are scores of two classes: (N, 2)."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.inputs = 3 if isinstance(layer, nn.MultiheadAttention) else 1

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        outputs = self.layer(*[inputs] * self.inputs)
        return (outputs[0] if isinstance(outputs, tuple) else outputs).flatten(1)[:, :2]


def build(name: str) -> tuple[nn.Module, torch.Tensor]:
    """A small layer of a kind, and inputs for it."""
    torch.manual_seed(0)
    kind = getattr(nn, name)
    if dimensions := re.fullmatch(r"Conv(?:Transpose)?(\d)d", name):
        return Scores(kind(2, 3, 2)), torch.rand(6, 2, *[3] * int(dimensions[1]))
    if name == "MultiheadAttention":
        return Scores(kind(4, 2, batch_first=True)), torch.rand(6, 3, 4)
    if name in ("RNN", "LSTM", "GRU"):
        return Scores(kind(4, 3, batch_first=True)), torch.rand(6, 3, 4)
    return Scores(kind(4, 3)), torch.rand(6, 4)


def weight_errors(model: nn.Module, inputs: torch.Tensor) -> bool:
    on_chip = ar.program(model, ar.Crossbar("rram-milo2021"))
    return not torch.allclose(on_chip(inputs), model(inputs), rtol=1e-4)


def converters(model: nn.Module, inputs: torch.Tensor) -> bool:
    ranges = ar.calibrate(model, COARSE, [inputs])
    on_chip = ar.program(model, COARSE, deployment=ar.Deployment(ranges=ranges))
    return not torch.allclose(on_chip(inputs), model(inputs), rtol=1e-3)


def read_noise(model: nn.Module, inputs: torch.Tensor) -> bool:
    on_chip = ar.program(model, NOISY)
    return not on_chip(inputs).equal(on_chip(inputs))


def training_through_arrays(model: nn.Module, inputs: torch.Tensor) -> bool:
    method, batch = ar.ArrayAware(NOISY), (inputs, torch.arange(6) % 2)
    losses = [float(method.backward(model, nn.functional.cross_entropy, [batch], step=step)) for step in (1, 2)]
    return losses[0] != losses[1] and any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def crosssim(model: nn.Module, inputs: torch.Tensor) -> bool:
    try:
        _check_supported(list(analog_weights(model).values()))
    except InputError:
        return False
    return True


COLUMNS = {
    "weight errors": weight_errors,
    "converters": converters,
    "read noise": read_noise,
    "training through arrays": training_through_arrays,
    "CrossSim": crosssim,
}


def word(supported: bool) -> str:
    return "yes" if supported else "no"


@pytest.mark.parametrize(("row", "name"), [(row, name) for row, name in NAMES if "digital" not in LAYERS[row].values()])
def test_each_effect_acts_on_the_layer_as_the_matrix_says(row, name):
    for column, acts in COLUMNS.items():
        model, inputs = build(name)
        assert LAYERS[row][column] == word(acts(model.eval(), inputs)), column


@pytest.mark.parametrize(("row", "name"), [(row, name) for row, name in NAMES if "digital" in LAYERS[row].values()])
def test_digital_layers_are_digital(row, name):
    arguments = {"LayerNorm": (4,), "BatchNorm1d": (4,), "Embedding": (5, 4)}[name]
    assert ar.coverage(nn.Sequential(getattr(nn, name)(*arguments), nn.Linear(4, 2))).layers == ("1",)
    assert {LAYERS[row][column] for column in COLUMNS} == {"digital"}


@pytest.mark.parametrize("row", LAYERS)
def test_each_row_names_tests_that_are_there(row):
    tests = re.findall(r"`(tests/[\w./]+)`", LAYERS[row]["tested in"])
    assert tests
    assert all((ROOT / test).is_file() for test in tests)


def translates(crossbar: ar.Crossbar) -> bool:
    """Whether CrossSim has a form of a crossbar."""
    try:
        ar.crosssim_json(crossbar)
    except InputError:
        return False
    return True


def test_the_matrix_of_devices_is_that_of_the_cards():
    computed = {
        f"`{name}`": {
            "programming error": word(card.programming.kind != "none"),
            "drift": word(card.has_drift),
            "read noise": word(card.has_read_noise),
            "CrossSim": word(translates(ar.Crossbar(name))),
        }
        for name, card in ((name, ar.load_card(name)) for name in ar.card_names())
    }
    assert computed == DEVICES
    assert not any(ar.load_card(name).stuck for name in ar.card_names())  # else the matrix needs a column


class Cell(ar.CellModel):
    """A device in Python."""

    name = "cell"
    unit = "uS"
    window = (1.0, 20.0)

    def programming_std(self, target: torch.Tensor) -> torch.Tensor:
        return 0.1 * target


CONVERTERS = {"dac": ar.DAC(bits=8, kind="signed", full_scale=1.0), "adc": ar.ADC(bits=8, range=(-5.0, 5.0))}
IV_CURVES = {"xbar": {"device": {"nonlinear_IV": {"enable": True, "model": "RRAMMilo"}, "Vread": 0.4}}}
CROSSBARS = {
    "two-sided, offset and bit-sliced mappings": [{"mapping": m} for m in ("two-sided", "offset", "bit-sliced")],
    "`ParallelDevices`": [{"mapping": "one-sided*2"}],
    "levels of a device (`cell_bits`)": [{"cell_bits": 4}],
    "one weight limit for each column (`scaling`)": [{"scaling": "column"}],
    "converters": [CONVERTERS],
    "noise of DACs and outputs, errors of ADCs": [
        CONVERTERS | {"dac": ar.DAC(bits=8, kind="signed", full_scale=1.0, noise=0.01)},
        CONVERTERS | {"output_noise": 0.04},
        CONVERTERS | {"adc": ar.ADC(bits=8, range=(-5.0, 5.0), gain_error=0.01)},
    ],
    "IR drop (`parasitics`)": [{"parasitics": ar.Parasitics(row_ohm=1.0, column_ohm=1.0)}],
    "stuck cells": [{"stuck": (0.01, 0.01)}],
    "fault maps": [{"stuck": ar.FaultMap({"weight": torch.full((2, 2, 4), torch.nan)})}],
    "devices in Python (`CellModel`)": [{"device": Cell()}],
    "I-V curves (`crosssim`)": [{"crosssim": IV_CURVES}],
}


def runs(crossbar: ar.Crossbar) -> bool:
    """Whether the native backend computes with a crossbar."""
    try:
        ar.program(nn.Linear(4, 2), crossbar)(torch.rand(3, 4))
    except InputError:
        return False
    return True


@pytest.mark.parametrize("option", CROSSBARS)
def test_each_backend_takes_or_refuses_an_option_as_the_matrix_says(option):
    crossbars = [ar.Crossbar(**{"device": "rram-milo2021"} | options) for options in CROSSBARS[option]]
    for column, takes in {"`native`": runs, "`crosssim`": translates}.items():
        assert {word(takes(crossbar)) for crossbar in crossbars} == {OPTIONS[option][column]}, column


def test_every_option_of_the_matrix_is_tried():
    assert CROSSBARS.keys() == OPTIONS.keys()
