"""Gradients pass straight through converters, and the arrays follow when weights are changed."""

import copy

import pytest
import torch
from support.for_each import for_each
from support.models import fill
from torch import Tensor, nn

from aimc_robust import ADC, DAC, BitSliced, Crossbar, program

MAPPINGS = ["one-sided", "two-sided", "offset", BitSliced(weight_bits=8, slices=2)]
FINE = {"dac": DAC(bits=8, kind="sign-magnitude", full_scale=4.0), "adc": ADC(bits=10, range=(-5.3, 5.1))}


def inputs(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


LAYERS = {
    "linear": (nn.Linear(6, 4), (5, 6)),
    "conv": (nn.Conv2d(2, 3, 3, padding=1), (2, 2, 5, 4)),
    "grouped": (nn.Conv1d(4, 4, 3, groups=2), (2, 4, 7)),
    "transposed": (nn.ConvTranspose2d(2, 3, 3, stride=2), (2, 2, 3, 3)),
}


@for_each("slice_bits", [0, 1])
@for_each("bias_rows", [0, 2])
@for_each("mapping", MAPPINGS)
@for_each("name", LAYERS)
def test_the_gradient_is_that_of_the_unquantised_layer(name, mapping, bias_rows, slice_bits):
    layer, shape = fill(copy.deepcopy(LAYERS[name][0])).double(), LAYERS[name][1]
    dac = DAC(bits=8, kind="sign-magnitude", full_scale=4.0, slice_bits=slice_bits)
    options = {"mapping": mapping, "rows": 4, "bias_rows": bias_rows}
    analog = program(layer, Crossbar("rram-milo2021", **options, dac=dac, adc=ADC(bits=12, range=(-8.3, 9.1))))
    exact = copy.deepcopy(layer)  # torch's layer with the weights that the devices stand for
    with torch.no_grad():
        by_hand = program(layer, Crossbar("rram-milo2021", **options))
        exact.load_state_dict(by_hand.state_dict())
    torch.testing.assert_close(analog.bias, exact.bias)
    target, gradients = None, []
    for model in (exact, analog):
        x = inputs(*shape).requires_grad_()
        y = model(x)
        target = inputs(*y.shape, seed=1) if target is None else target
        (y * target).sum().backward()
        weight = model.weight.grad.flatten()
        if model is analog and isinstance(layer, nn.ConvTranspose2d):
            weight = model.weight.grad.transpose(0, 1).flatten()
        gradients.append((x.grad, weight, model.bias.grad))
    # The analog layer multiplies with inputs rounded to 4 / 127, torch's with the inputs themselves.
    for kind, (want, got) in zip(("x", "weight", "bias"), zip(*gradients, strict=True), strict=True):
        tolerance = 0.02 * float(want.abs().max()) if kind == "weight" else 1e-10
        torch.testing.assert_close(got, want, rtol=0, atol=tolerance, msg=lambda text, kind=kind: f"{kind}: {text}")


def test_the_gradient_is_close_to_finite_differences():
    layer = fill(nn.Linear(6, 4)).double()
    analog = program(layer, Crossbar("ideal", rows=4, **FINE))
    quiet = program(layer, Crossbar("ideal", rows=4, dac=DAC(kind="ideal")))
    x, target = inputs(3, 6), inputs(3, 4, seed=1)
    (analog(x) * target).sum().backward()
    for row, column in ((0, 0), (2, 5), (3, 1)):
        step, values = 1e-4, []
        for sign in (1.0, -1.0):
            with torch.no_grad():
                quiet.weight[row, column] += sign * step
                values.append(float((quiet(x) * target).sum()))
                quiet.weight[row, column] -= sign * step
        difference = (values[0] - values[1]) / (2 * step)
        assert float(analog.weight.grad[row, column]) == pytest.approx(difference, abs=0.05)


def test_it_is_zero_where_an_input_or_a_current_was_clipped():
    layer = nn.Linear(2, 2, bias=False).double()
    layer.weight.data = torch.tensor([[1.0, 0.5], [0.1, 0.2]], dtype=torch.float64)
    dac, adc = DAC(bits=8, kind="unsigned", full_scale=2.0), ADC(bits=8, range=(0.0, 0.6))
    analog = program(layer, Crossbar("ideal", dac=dac, adc=adc))
    x = torch.tensor([[0.5, 3.0], [-1.0, 0.4], [1.9, 1.8]], dtype=torch.float64, requires_grad=True)
    analog(x).sum().backward()
    # Inputs 3.0 and -1.0 leave the DAC's range; the currents of output 0 leave the ADC's in rows 0 and 2.
    want = torch.tensor([[0.1, 0.0], [0.0, 0.7], [0.1, 0.2]], dtype=torch.float64)
    torch.testing.assert_close(x.grad, want, rtol=0, atol=1e-9)
    assert float(analog.weight.grad[0].abs().sum()) == pytest.approx(0.4, abs=0.01)  # row 1 alone


@for_each("bias_rows", [0, 1])
@for_each("mapping", MAPPINGS)
def test_a_few_steps_through_8_bit_converters_reduce_a_loss(mapping, bias_rows):
    model = fill(nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2)))
    converters = {
        "dac": DAC(bits=8, kind="sign-magnitude", full_scale=4.0, slice_bits=0),
        "adc": ADC(bits=8, range=(-6.3, 6.1)),
    }
    analog = program(model, Crossbar("rram-milo2021", mapping=mapping, bias_rows=bias_rows, **converters))
    x, target = inputs(64, 6).float(), inputs(6, 2, seed=1).float()
    optimizer, losses = torch.optim.SGD(analog.parameters(), lr=0.05), []
    for _ in range(30):
        loss = (analog(x) - x @ target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


@for_each("bias_rows", [0, 2])
@for_each("mapping", MAPPINGS)
def test_the_arrays_follow_a_changed_weight_and_bias(mapping, bias_rows):
    layer, other = fill(nn.Linear(6, 4)).double(), nn.Linear(6, 4).double()
    analog = program(
        layer, Crossbar("rram-milo2021", mapping=mapping, bias_rows=bias_rows, rows=4, dac=DAC(kind="ideal"))
    )
    x = inputs(3, 6)
    analog.load_state_dict(other.state_dict(), strict=False)
    torch.testing.assert_close(analog(x), other(x), rtol=0, atol=1e-12)
    with torch.no_grad():
        analog.weight.mul_(0.5)
        analog.bias.add_(1.0)
        torch.testing.assert_close(analog(x), 0.5 * x @ other.weight.T + other.bias + 1.0, rtol=0, atol=1e-12)


@for_each("bias_rows", [0, 2])
@for_each("mapping", MAPPINGS)
def test_saved_arrays_come_back(mapping, bias_rows):
    crossbar = Crossbar("rram-milo2021", mapping=mapping, bias_rows=bias_rows, rows=4, **FINE)
    layer, x = fill(nn.Linear(6, 4)).double(), inputs(3, 6)
    analog, again = (program(layer, crossbar, chip=1) for _ in range(2))
    with torch.no_grad():
        analog.weight.add_(0.05)
    again.load_state_dict(analog.state_dict())
    assert torch.equal(again(x), analog(x))
    assert torch.equal(copy.deepcopy(analog)(x), analog(x))


def test_frozen_weights_stay_frozen_and_the_layers_parameters_are_the_models():
    layer = fill(nn.Linear(6, 4)).requires_grad_(False)
    analog = program(layer, Crossbar("rram-milo2021", **FINE))
    assert not any(parameter.requires_grad for parameter in analog.parameters())
    assert {name for name, _ in analog.named_parameters()} == {"weight", "bias"}


@pytest.mark.skipif(torch.__version__ < (2, 8), reason="torch 2.7 exports no such layers")
@pytest.mark.parametrize("name", LAYERS)
def test_arrays_are_exported_as_they_compute(name):
    layer, shape = fill(copy.deepcopy(LAYERS[name][0])), LAYERS[name][1]
    analog, x = program(nn.Sequential(layer), Crossbar("rram-milo2021", **FINE)), inputs(*shape).float()
    exported = torch.export.export(analog, (x,)).module()  # gradients are recorded, as by default
    assert torch.equal(exported(x), analog(x))
