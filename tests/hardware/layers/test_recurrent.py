"""Recurrent layers: every matrix has devices of its own, and arrays compute every time step as torch does."""

import pytest
import torch
from support.for_each import for_each
from support.models import MILO, digest, fill
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence, pad_packed_sequence

from aimc_robust import ADC, DAC, Crossbar, calibrate, card_names, coverage, evaluate, program
from aimc_robust.errors import InputError
from aimc_robust.hardware.config.quantization import input_levels, quantize
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


EXACT = Crossbar("ideal", window=(0.2, 1.0), mapping="two-sided", rows=2, dac=DAC(kind="ideal"))
SEQUENCES = {
    "rnn": lambda: nn.RNN(3, 5, num_layers=2, bidirectional=True),
    "relu rnn": lambda: nn.RNN(3, 5, nonlinearity="relu", bias=False),
    "gru": lambda: nn.GRU(3, 5, bias=False),
    "deep gru": lambda: nn.GRU(3, 5, num_layers=3, bidirectional=True, dropout=0.5),
    "lstm": lambda: nn.LSTM(3, 5, num_layers=2, batch_first=True),
    "lstm with projection": lambda: nn.LSTM(3, 5, proj_size=2, bidirectional=True, num_layers=2),
}
STEPS, IMAGES = 6, 4


def inputs(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def flat(result: object) -> list[Tensor]:
    """The tensors of nested results, in order."""
    if isinstance(result, PackedSequence):
        return flat(tuple(result)[:2]) + [x for x in tuple(result)[2:] if x is not None]
    return [result] if isinstance(result, Tensor) else [x for part in result for x in flat(part)]


def on_arrays(layer: nn.Module, crossbar: Crossbar = EXACT, **options: object) -> nn.Module:
    return program(nn.ModuleDict({"memory": layer}), crossbar, **options)["memory"]


def assert_same(layer: nn.Module, *args: object) -> None:
    want, got = flat(layer(*args)), flat(on_arrays(layer)(*args))
    assert len(want) == len(got)
    for expected, tensor in zip(want, got, strict=True):
        torch.testing.assert_close(tensor, expected, rtol=0, atol=1e-10)


def initial_states(layer: nn.RNNBase, *images: int) -> object:
    count = layer.num_layers * (1 + layer.bidirectional)
    hidden = inputs(count, *images, layer.proj_size or layer.hidden_size, seed=1)
    return (hidden, inputs(count, *images, layer.hidden_size, seed=2)) if isinstance(layer, nn.LSTM) else hidden


@for_each("name", SEQUENCES)
def test_without_errors_arrays_compute_what_torch_does(name):
    layer = fill(SEQUENCES[name]()).double().eval()
    x = inputs(STEPS, IMAGES, 3)
    x = x.transpose(0, 1) if layer.batch_first else x
    assert_same(layer, x)
    assert_same(layer, x, initial_states(layer, IMAGES))
    assert_same(layer, inputs(STEPS, 3), initial_states(layer))


@for_each("enforce_sorted", [True, False])
@for_each("name", SEQUENCES)
def test_packed_sequences_are_torchs(name, enforce_sorted):
    layer = fill(SEQUENCES[name]()).double().eval()
    lengths = [6, 4, 4, 1] if enforce_sorted else [4, 1, 6, 4]
    packed = pack_padded_sequence(inputs(STEPS, IMAGES, 3), lengths, enforce_sorted=enforce_sorted)
    assert_same(layer, packed)
    assert_same(layer, packed, initial_states(layer, IMAGES))


@for_each("name", [name for name in LAYERS if "cell" in name])
def test_cells_are_torchs(name):
    cell = fill(LAYERS[name]()).double().eval()
    for shape in ((IMAGES,), ()):
        hidden = inputs(*shape, 5, seed=1)
        states = (hidden, inputs(*shape, 5, seed=2)) if name == "lstm cell" else hidden
        assert_same(cell, inputs(*shape, 3))
        assert_same(cell, inputs(*shape, 3), states)


def test_converters_act_at_every_step():
    """The oracle quantizes inputs and hidden states itself, step by step."""
    layer = fill(nn.RNN(3, 5, bias=False)).double().eval()
    layer.weight_hh_l0.data *= 3.0
    dac = DAC(bits=3, kind="signed", full_scale=1.0)
    x, hidden = inputs(STEPS, IMAGES, 3).clamp(-1.0, 1.0), torch.zeros(IMAGES, 5, dtype=torch.float64)

    def converted(values: Tensor) -> Tensor:
        low, steps = input_levels("signed", 3)
        return quantize(values, low, 1.0, steps)

    for step in range(STEPS):
        hidden = torch.tanh(converted(x[step]) @ layer.weight_ih_l0.T + converted(hidden) @ layer.weight_hh_l0.T)
    got = on_arrays(layer, Crossbar("ideal", dac=dac))(x)[1][0]
    torch.testing.assert_close(got, hidden, rtol=0, atol=1e-10)
    assert (got - layer(x)[1][0]).abs().max() > 1e-2


@for_each("packed", [False, True])
def test_the_noise_of_an_image_does_not_depend_on_its_batch_and_differs_between_steps(packed):
    layer, x = fill(nn.LSTM(3, 5, num_layers=2)), torch.ones(STEPS, IMAGES, 3)

    def outputs(images: slice) -> Tensor:
        part = x[:, images]
        lengths = torch.tensor([6, 5, 4, 4])[images]
        result = on_arrays(layer, Crossbar("sonos-agrawal2022"))(
            pack_padded_sequence(part, lengths) if packed else part
        )
        return pad_packed_sequence(result[0])[0] if packed else result[0]

    together, first = outputs(slice(0, 4)), outputs(slice(0, 2))
    torch.testing.assert_close(first, together[:, :2], rtol=0, atol=1e-6)
    still = fill(nn.RNN(3, 5, bias=False))
    still.weight_hh_l0.data.zero_()
    differences = on_arrays(still, Crossbar("sonos-agrawal2022"))(x)[0].diff(dim=0)
    assert (differences.abs() > 0).all()  # equal inputs, no memory: only read noise differs


@for_each("options", [{}, {"bidirectional": True}, {"num_layers": 2}])
@for_each("read_noise", [False, True])
def test_the_noise_of_a_packed_sequence_does_not_depend_on_the_lengths_of_others(options, read_noise):
    layer = fill(nn.LSTM(4, 5, **options))
    dac = DAC(kind="ideal", full_scale=1.0, noise=0.1)
    crossbar = Crossbar("sonos-agrawal2022", dac=dac, read_noise=read_noise)
    sequences = [torch.randn(length, 4, generator=torch.Generator().manual_seed(length)) for length in (3, 6, 2, 5)]

    def outputs(size: int) -> list[Tensor]:
        chip, seen = on_arrays(layer, crossbar), []
        for start in range(0, 4, size):
            packed = chip(pack_sequence(sequences[start : start + size], enforce_sorted=False))[0]
            padded, lengths = pad_packed_sequence(packed, batch_first=True)
            seen += [image[:length] for image, length in zip(padded, lengths, strict=True)]
        return seen

    for size in (1, 3):
        for one, together in zip(outputs(size), outputs(4), strict=True):
            torch.testing.assert_close(one, together, rtol=0, atol=1e-6)


def test_packed_sequences_of_equal_length_have_the_noise_of_unpacked_ones():
    layer, x = fill(nn.GRU(3, 5)), torch.ones(STEPS, IMAGES, 3)
    packed = on_arrays(layer, Crossbar("sonos-agrawal2022"))(pack_padded_sequence(x, [STEPS] * IMAGES))[0]
    assert torch.equal(pad_packed_sequence(packed)[0], on_arrays(layer, Crossbar("sonos-agrawal2022"))(x)[0])


def test_calibration_does_not_see_padding():
    """Constant inputs give constant currents; with the padding's zeros the smallest current would be 0."""
    model = nn.ModuleDict({"memory": nn.GRU(3, 5)})
    model["memory"].weight_ih_l0.data.fill_(1.0)
    crossbar = Crossbar("ideal", dac=DAC(bits=8), adc=ADC(bits=8))

    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.memory = model["memory"]

        def forward(self, x: Tensor) -> Tensor:
            return self.memory(pack_padded_sequence(x.transpose(0, 1), [6, 2, 1, 1]))[1][0]

    ranges = calibrate(Packed(), crossbar, [torch.full((IMAGES, STEPS, 3), 2.0)])
    ((low, high),) = ranges["memory.weight_ih_l0"].outputs
    assert low < 3.0 < high  # three inputs at full scale
    assert low > 1.0


def test_wrong_inputs_and_states_are_named():
    memory = on_arrays(nn.LSTM(3, 5))
    for args, named in (
        ((torch.randn(STEPS, IMAGES, 4),), "memory.weight_ih_l0"),
        ((torch.randn(3),), r"\(3,\)"),
        ((torch.randn(STEPS, IMAGES, 3), (torch.zeros(1, 2, 5), torch.zeros(1, 2, 5))), r"\(1, 4, 5\)"),
        ((torch.randn(STEPS, IMAGES, 3), torch.zeros(1, IMAGES, 5)), r"\(1, 4, 5\), \(1, 4, 5\), got \(1, 4, 5\)"),
    ):
        with pytest.raises(InputError, match=named):
            memory(*args)


class Speech(nn.Module):
    """Convolution, recurrent layer, classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.memory, self.out = nn.Conv1d(3, 4, 3), nn.GRU(4, 5, batch_first=True), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.memory(self.conv(x).transpose(1, 2))[0][:, -1])


def test_every_card_evaluates_a_recurrent_network():
    model, data = fill(Speech()), [(torch.randn(8, 3, 20), torch.zeros(8, dtype=torch.long))]
    for card in card_names():
        table = evaluate(model, data, Crossbar(card), chips=1).table
        assert table["loss"].notna().all(), card


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
