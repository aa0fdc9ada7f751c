"""A BatchNorm that follows a layer is folded into it without changing any output."""

import pytest
import torch
from support.folding import TOLERANCE, folded_and_difference, noise_inputs, stirred
from support.for_each import for_each
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from aimc_robust import Crossbar, program
from aimc_robust.hardware.conversion.prepare import prepare

LAYERS = {
    "conv1d": (lambda bias: nn.Conv1d(3, 4, 3, bias=bias), nn.BatchNorm1d, (2, 3, 9)),
    "conv2d": (lambda bias: nn.Conv2d(3, 4, 3, bias=bias), nn.BatchNorm2d, (2, 3, 7, 7)),
    "grouped conv2d": (lambda bias: nn.Conv2d(4, 8, 3, groups=4, bias=bias), nn.BatchNorm2d, (2, 4, 7, 7)),
    "conv3d": (lambda bias: nn.Conv3d(3, 4, 2, bias=bias), nn.BatchNorm3d, (2, 3, 4, 4, 4)),
    "linear": (lambda bias: nn.Linear(3, 4, bias=bias), nn.BatchNorm1d, (5, 3)),
}


@for_each("affine", [True, False])
@for_each("bias", [True, False])
@for_each("layer", LAYERS)
def test_a_batchnorm_after_a_layer_is_folded_exactly(layer, bias, affine):
    make_layer, make_norm, shape = LAYERS[layer]
    conv = make_layer(bias)
    model = nn.Sequential(conv, make_norm(conv.weight.shape[0], affine=affine, eps=1e-3), nn.ReLU())
    coverage, difference = folded_and_difference(model, noise_inputs(*shape))
    assert difference < TOLERANCE
    assert coverage.folding.folded == {"1": "0"}
    assert coverage.folding.not_folded == {}
    assert "1 BatchNorm folded into the weights" in coverage.summary()


def test_the_folded_model_has_no_batchnorm_left_and_the_weights_carry_its_gain():
    model = stirred(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    prepared, _ = prepare(model)
    assert not any(isinstance(module, _BatchNorm) for module in prepared.modules())
    gain = model[1].weight / (model[1].running_var + model[1].eps).sqrt()
    torch.testing.assert_close(prepared[0].weight, model[0].weight * gain.reshape(-1, 1, 1, 1), rtol=1e-12, atol=0)


def test_resnet18_is_folded_whole():
    models = pytest.importorskip("torchvision.models")
    coverage, difference = folded_and_difference(models.resnet18(num_classes=10), noise_inputs(2, 3, 32, 32))
    assert difference < TOLERANCE
    assert len(coverage.folding.folded) == 20
    assert coverage.folding.folded["layer2.0.downsample.1"] == "layer2.0.downsample.0"
    assert coverage.folding.not_folded == {}
    assert coverage.digital_parameters == {}


def test_the_check_of_outputs_fails_for_another_eps():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    prepared, _ = prepare(stirred(model))
    model[1].eps = 1e-4
    x = noise_inputs(2, 3, 6, 6)
    assert (model.eval()(x) - prepared(x)).abs().max() > 1000 * TOLERANCE


def test_an_ideal_device_gives_the_unfolded_models_outputs():
    model = stirred(nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3)))
    x = noise_inputs(2, 3, 8, 8)
    torch.testing.assert_close(program(model, Crossbar("ideal"))(x), model.eval()(x), rtol=0, atol=TOLERANCE)
