"""The scripts of benchmarks/speed/ can be run: what they set up works on a small network. Times are not asserted."""

import sys

import pytest
import torch
from support.benchmark_scripts import BENCHMARKS, load_script
from torch import nn

from aimc_robust.hardware.layers.array_layer import ArrayLayer

SPEED = BENCHMARKS / "speed"


@pytest.fixture(autouse=True)
def scripts_find_their_common_file(monkeypatch):
    monkeypatch.syspath_prepend(SPEED)
    yield
    sys.modules.pop("common", None)


@pytest.fixture
def small():
    common = load_script("speed/common.py")
    return common.quickstart_cnn().eval(), common.digits(16)


@pytest.mark.parametrize(
    "name", ["arrays", "array_aware", "chips", "chips_at_once", "crosssim", "programming", "steps"]
)
def test_every_script_of_a_claim_says_it_and_can_be_imported(name):
    script = load_script(f"speed/{name}.py")
    assert script.__doc__.startswith(("Claim", "Aim"))
    assert f"python benchmarks/speed/{name}.py" in script.__doc__
    assert callable(script.main)


def test_the_models_on_chips_compute_in_arrays(small):
    model, (images, _) = small
    script = load_script("speed/arrays.py")
    chips = script.on_chips(model, images)
    assert set(script.LIMITS) == set(chips)
    with torch.inference_mode():
        outputs = {name: chip(images) for name, chip in chips.items()}
    for name, chip in chips.items():
        assert any(isinstance(layer, ArrayLayer) for layer in chip.modules()) == (name != "weight errors")
        assert torch.isfinite(outputs[name]).all()
        assert not torch.equal(outputs[name], model(images))


def test_every_step_through_arrays_has_a_gradient(small):
    model, (images, labels) = small
    script = load_script("speed/array_aware.py")
    methods = script.array_methods(model, images)
    assert set(script.LIMITS) < set(methods)
    for method in methods.values():
        model.train().zero_grad()
        method.backward(model, nn.CrossEntropyLoss(), [(images, labels)], step=1)
        assert all(parameter.grad is not None for parameter in model.parameters())
