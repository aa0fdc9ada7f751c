"""Learned output scales: the gradient of the scale against an explicit factor, through every kind of layer."""

import pytest
import torch
from torch import nn

from aimc_robust.errors import UnknownNameError
from aimc_robust.experiments.spec.methods import MethodEntry
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.io.toml import parse_value
from aimc_robust.training.methods.array_aware import ArrayAware

IDEAL = Crossbar("ideal")
LAYERS = {
    "linear": (nn.Linear(5, 3), (7, 5), lambda w: w),
    "convolution": (nn.Conv2d(4, 6, 3, groups=2), (2, 4, 5, 5), lambda w: w),
    "transposed": (nn.ConvTranspose1d(4, 3, 2, bias=False), (2, 4, 5), lambda w: w.movedim(1, 0)),
}


def loss(outputs, labels):
    return (outputs.flatten(1).sum(1) - labels).square().mean() + outputs.square().mean()


def gradient(layer, x, **options):
    model = nn.Sequential(layer)
    model.zero_grad()
    ArrayAware(IDEAL, **options).backward(model, loss, [(x, torch.zeros(len(x), dtype=x.dtype))], step=1)
    return layer.weight.grad.clone()


@pytest.mark.parametrize("per", ["layer", "column"])
@pytest.mark.parametrize("kind", LAYERS)
def test_the_gradient_adds_that_of_an_explicit_scale(kind, per):
    torch.manual_seed(0)
    layer, shape, filters_first = LAYERS[kind]
    layer = layer.double()
    x = torch.randn(shape, dtype=torch.float64)
    filters = filters_first(layer.weight.detach())
    dims = tuple(range(1 if per == "column" else 0, filters.ndim))
    largest = filters.abs().amax(dims, keepdim=True)
    states = filters / largest
    scale = largest.clone().requires_grad_()  # the explicit form: weights are states times a trained scale
    weight = filters_first(scale * states) if kind == "transposed" else scale * states
    parameters = {"0.weight": weight} | ({} if layer.bias is None else {"0.bias": layer.bias})
    outputs = torch.func.functional_call(nn.Sequential(layer), parameters, x)
    (of_scale,) = torch.autograd.grad(loss(outputs, torch.zeros(len(x))), scale)
    plain, scaled = gradient(layer, x), gradient(layer, x, output_scales=per)
    expected = filters_first(plain) + of_scale * states
    assert torch.allclose(filters_first(scaled), expected, rtol=1e-9, atol=1e-12)
    assert not torch.allclose(scaled, plain)


def test_a_column_without_weights_keeps_its_gradient():
    layer = nn.Linear(4, 3).double()
    with torch.no_grad():
        layer.weight[1] = 0.0
    x = torch.randn(6, 4, dtype=torch.float64)
    scaled = gradient(layer, x, output_scales="column")
    assert torch.isfinite(scaled).all()
    assert torch.equal(scaled[1], gradient(layer, x)[1])


def test_a_step_on_the_weights_moves_the_scale_as_a_step_on_the_scale_does():
    """To first order in the step: max|w| changes by the learning rate times <g, v>, beside what g itself does."""
    torch.manual_seed(1)
    layer, x, lr = nn.Linear(5, 3).double(), torch.randn(7, 5, dtype=torch.float64), 1e-7
    plain, scaled = gradient(layer, x), gradient(layer, x, output_scales="column")
    weight = layer.weight.detach()
    states = weight / weight.abs().amax(1, keepdim=True)
    moved = (weight - lr * scaled).abs().amax(1) - (weight - lr * plain).abs().amax(1)
    assert torch.allclose(moved, -lr * (plain * states).sum(1), rtol=1e-6)


def test_a_spec_and_a_wrong_name():
    entry = {"kind": "array-aware", "crossbar": "rram-wan2022", "output_scales": "column"}
    assert parse_value(entry, MethodEntry, source="method").build().output_scales == "column"
    with pytest.raises(UnknownNameError, match="column"):
        ArrayAware(IDEAL, output_scales="colum")
