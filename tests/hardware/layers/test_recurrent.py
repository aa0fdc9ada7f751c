"""Recurrent layers are programmed matrix by matrix; arrays do not compute them, and say so."""

import pytest
import torch
from support.for_each import for_each
from support.models import MILO, digest, fill
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from aimc_robust import ADC, DAC, Crossbar, coverage, program
from aimc_robust.errors import InputError
from aimc_robust.noise.analog_weights import analog_weights

LAYERS = {
    "rnn": lambda: nn.RNN(3, 5, num_layers=2, bidirectional=True),
    "gru": lambda: nn.GRU(3, 5, bias=False),
    "lstm": lambda: nn.LSTM(3, 5, num_layers=2),
    "lstm with projection": lambda: nn.LSTM(3, 5, proj_size=2),
    "rnn cell": lambda: nn.RNNCell(3, 5),
    "gru cell": lambda: nn.GRUCell(3, 5, bias=False),
    "lstm cell": lambda: nn.LSTMCell(3, 5),
}


@pytest.mark.parametrize("name", LAYERS)
def test_every_matrix_has_devices_of_its_own_and_biases_stay_exact(name):
    model = fill(nn.ModuleDict({"memory": LAYERS[name]()}))
    analog = program(model, MILO, chip=2)
    matrices = [name for name, p in model.named_parameters() if "weight" in name]
    assert coverage(model).layers == tuple(matrices)
    for name, parameter in model.named_parameters():
        programmed = analog.get_parameter(name)
        if name in matrices:
            error = (programmed - parameter).detach() / parameter.detach().abs().max()
            # Milo's pair has 0.0292 to 0.0350 of the matrix's own max|W|: a shared scale or device would show.
            assert 0.01 < float(error.square().mean().sqrt()) < 0.06
        else:
            assert torch.equal(programmed, parameter)


@pytest.mark.parametrize("name", LAYERS)
def test_an_ideal_device_leaves_the_outputs(name):
    model = fill(nn.ModuleDict({"memory": LAYERS[name]()}))
    x = torch.randn(4, 3) if "cell" in name else torch.randn(6, 4, 3)
    want, got = model["memory"](x), program(model, Crossbar("ideal"))["memory"](x)
    first = [y[0] if isinstance(y, tuple) else y for y in (want, got)]
    torch.testing.assert_close(first[1], first[0])
    noisy = program(model, MILO)["memory"](x)
    noisy = noisy[0] if isinstance(noisy, tuple) else noisy
    assert float((noisy - first[0]).detach().abs().max()) > 1e-3


@pytest.mark.parametrize("name", LAYERS)
def test_bias_rows_program_the_bias_of_each_matrix(name):
    model = fill(nn.ModuleDict({"memory": LAYERS[name]()}))
    before = digest(model)
    analog = program(model, Crossbar("rram-milo2021", bias_rows=1))
    exact = program(model, Crossbar("ideal", bias_rows=1))
    assert digest(model) == before
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(exact.get_parameter(name), parameter, rtol=0, atol=1e-6)
        assert not torch.equal(analog.get_parameter(name), parameter)


@for_each(
    "crossbar",
    [
        Crossbar("ideal", dac=DAC(bits=8, kind="signed", full_scale=1.0)),
        Crossbar("ideal", dac=DAC(kind="ideal", full_scale=1.0), adc=ADC(bits=8, range="worst-case")),
        Crossbar("sonos-agrawal2022"),
    ],
)
@for_each("name", LAYERS)
def test_arrays_refuse_recurrent_layers_by_name(name, crossbar):
    model = nn.ModuleDict({"head": nn.Linear(5, 2), "memory": LAYERS[name]()})
    kind = type(model["memory"]).__name__
    with pytest.raises(
        InputError, match=rf"'memory\.weight_\w+' \({kind}\) is supported in the weight-error path only"
    ):
        program(model, crossbar)
    program(model, Crossbar("sonos-agrawal2022", read_noise=False))


def test_two_matrices_of_equal_values_get_errors_of_their_own():
    model = nn.LSTM(5, 5)
    model.weight_hh_l0.data = model.weight_ih_l0.data.clone()
    analog = program(model, MILO)
    assert list(analog_weights(model)) == ["weight_ih_l0", "weight_hh_l0"]
    assert not torch.equal(analog.weight_ih_l0, analog.weight_hh_l0)


@pytest.mark.parametrize("frozen", [False, True])
@torch.no_grad()  # torch cannot copy a recurrent layer whose computed weights keep a gradient
def test_computed_recurrent_weights_are_programmed(frozen):
    torch.manual_seed(0)
    model, x = nn.LSTM(4, 6, batch_first=True).requires_grad_(not frozen).eval(), torch.randn(2, 5, 4)
    for name in ("weight_ih_l0", "weight_hh_l0"):
        weight_norm(model, name)
    assert set(coverage(model).layers) == {"weight_ih_l0", "weight_hh_l0"}
    torch.testing.assert_close(program(model, Crossbar("ideal"))(x)[0], model(x)[0])
    assert not torch.allclose(program(model, Crossbar("rram-milo2021"))(x)[0], model(x)[0], atol=1e-3)
