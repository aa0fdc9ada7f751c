"""coverage(): counts and names of what a crossbar holds and what stays digital."""

import pytest
import torch
from torch import nn

from aimc_robust import Crossbar, coverage, program
from aimc_robust.errors import InputError

MILO = Crossbar("rram-milo2021")


def test_a_small_network_is_counted_and_told_in_one_line():
    model = nn.Sequential(nn.Conv2d(1, 3, 3, bias=False), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(48, 4))
    found = coverage(model)
    # After folding the convolution has a bias of 3 and the BatchNorm is gone.
    assert (found.analog_weights, found.biases, found.total_weights) == (27 + 192, 3 + 4, 226)
    assert found.layers == ("0", "3")
    assert found.digital == {}
    assert found.line() == (
        "219 of 226 parameters (96.9 %) are analog, in 2 layers; digital: biases (7); "
        "1 BatchNorm folded into the weights."
    )


def test_a_batchnorm_that_stays_is_counted_as_digital():
    found = coverage(nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.BatchNorm1d(5)))
    assert found.digital == {"2": 10}
    assert found.total_weights == 20 + 5 + 10
    assert "digital: biases (5), 2 (10)" in found.line()
    assert "BatchNorm not folded: 2 (" in found.line()


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.mix(x, x, x, need_weights=False)[0])


def test_the_input_projection_of_attention_stays_digital_and_is_named():
    model = Attention()
    found = coverage(model)
    assert found.layers == ("mix.out_proj", "head")
    assert found.analog_weights == 8 * 8 + 8 * 3
    assert found.digital == {"mix": 3 * 8 * 8 + 3 * 8}
    assert "mix (216)" in found.line()
    analog = program(model, MILO)
    assert torch.equal(analog.mix.in_proj_weight, model.mix.in_proj_weight)
    assert not torch.equal(analog.mix.out_proj.weight, model.mix.out_proj.weight)


def test_attention_computes_with_the_programmed_weights_on_its_fast_path_too():
    # Without gradients torch takes a fused path past out_proj's own forward; it must see the same weights.
    model = Attention().eval()
    analog, x = program(model, MILO), torch.randn(2, 4, 8)
    slow = analog(x).detach()
    with torch.no_grad():
        torch.testing.assert_close(analog(x), slow)
        assert not torch.allclose(model(x), slow, atol=1e-3)


def test_a_transposed_convolution_stays_digital_and_is_named():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ConvTranspose2d(2, 3, 3))
    found = coverage(model)
    assert found.layers == ("0",)
    assert found.digital == {"1": 2 * 3 * 9 + 3}
    assert "1 (57)" in found.line()
    assert torch.equal(program(model, MILO)[1].weight, model[1].weight)


def test_tied_weights_are_counted_once():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4, bias=False))
    model[1].weight = model[0].weight
    found = coverage(model)
    assert (found.analog_weights, found.total_weights) == (16, 20)


def test_a_layer_whose_weight_is_computed_is_not_called_analog():
    # Its parameters are others; what is written into the computed weight is lost at the next use.
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)), nn.Linear(3, 2))
    found = coverage(model)
    assert found.layers == ("1",)
    assert found.analog_weights == 6
    assert sum(found.digital.values()) >= 12 + 3


def test_a_model_without_a_layer_for_a_crossbar_is_refused():
    with pytest.raises(InputError, match="BatchNorm1d has no layer that a crossbar can hold"):
        coverage(nn.BatchNorm1d(3))
