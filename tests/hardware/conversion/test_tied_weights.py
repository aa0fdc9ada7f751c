"""Shared modules and tied weights: one set of devices, digital partners keep their exact values."""

import pytest
import torch
from support.models import MILO, fill
from torch import Tensor, nn

from aimc_robust import Crossbar, program
from aimc_robust.errors import InputError
from aimc_robust.hardware.config.converters import ADC, DAC

# A DAC of 16 bits changes next to nothing, but makes the layers compute in arrays.
ARRAYS = Crossbar("rram-milo2021", dac=DAC(bits=16, kind="sign-magnitude", full_scale=8.0))
BOTH = pytest.mark.parametrize("crossbar", [MILO, ARRAYS], ids=["weights", "arrays"])


@BOTH
def test_a_module_under_two_names_is_programmed_once(crossbar):
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(4, 4)
            self.again = self.first

        def forward(self, x: Tensor) -> Tensor:
            return self.again(self.first(x))

    model = fill(Twice())
    analog = program(model, crossbar)
    assert analog.first is analog.again
    assert not torch.equal(analog.first.weight, model.first.weight)
    x = torch.randn(3, 4)
    with torch.no_grad():
        expected = nn.functional.linear(x, analog.first.weight, analog.first.bias)
        expected = nn.functional.linear(expected, analog.first.weight, analog.first.bias)
        torch.testing.assert_close(analog(x), expected, rtol=0, atol=3e-3)


def tied() -> nn.Module:
    model = fill(nn.ModuleDict({"a": nn.Linear(4, 4), "b": nn.Linear(4, 4, bias=False), "c": nn.Linear(4, 4)}))
    model["b"].weight = model["a"].weight
    return model


@BOTH
def test_tied_weights_have_equal_devices_and_biases_of_their_own(crossbar):
    model = tied()
    analog = program(model, crossbar)
    assert torch.equal(analog["a"].weight, analog["b"].weight)
    assert not torch.equal(analog["a"].weight, model["a"].weight)
    assert not torch.equal(analog["a"].weight, analog["c"].weight)
    assert analog["b"].bias is None
    assert torch.equal(analog["a"].bias, model["a"].bias)


@BOTH
def test_a_tied_weight_is_programmed_as_it_would_be_untied(crossbar):
    model = tied()
    model["b"].weight = nn.Parameter(model["a"].weight.detach().clone())
    assert torch.equal(program(tied(), crossbar)["a"].weight, program(model, crossbar)["a"].weight)


@BOTH
def test_an_embedding_tied_to_a_head_keeps_its_exact_weights(crossbar):
    class Language(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lookup, self.head = nn.Embedding(7, 4), nn.Linear(4, 7, bias=False)
            self.head.weight = self.lookup.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.lookup(x))

    model = fill(Language())
    analog = program(model, crossbar)
    assert torch.equal(analog.lookup.weight, model.lookup.weight)
    assert not torch.equal(analog.head.weight, model.head.weight)
    assert model.head.weight is model.lookup.weight


@pytest.mark.parametrize("converting", [False, True])
def test_shared_weights_with_biases_of_their_own_cannot_have_bias_rows(converting):
    model = fill(nn.ModuleDict({"a": nn.Linear(4, 4), "b": nn.Linear(4, 4)}))
    model["b"].weight = model["a"].weight
    adc = ADC(bits=8, range=(-4.0, 4.0)) if converting else None
    dac = DAC(bits=8, kind="signed", full_scale=1.0) if converting else None
    with pytest.raises(InputError, match=r"the layer '[ab]' shares its weight .* use bias_rows=0"):
        program(model, Crossbar("rram-milo2021", bias_rows=1, dac=dac, adc=adc))
    program(model, Crossbar("rram-milo2021", dac=dac, adc=adc))
