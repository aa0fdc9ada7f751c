"""CrossSim's devices are those that ours would be with its random numbers, and every layer computes what it should."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from aimc_robust import Crossbar, Deployment
from aimc_robust.errors import InputError
from aimc_robust.hardware.config.converters import ADC, DAC
from aimc_robust.hardware.config.standard_mappings import BitSliced
from aimc_robust.hardware.conversion.prepare import prepare
from aimc_robust.hardware.crosssim import layers
from aimc_robust.hardware.crosssim.backend import program_on_crosssim
from aimc_robust.hardware.program import program
from aimc_robust.hardware.programming.weights_to_states import LayerDraws, program_matrix, read_back
from aimc_robust.seeding import Axes

CROSSSIM = Deployment(backend="crosssim")

CROSSSIM = Deployment(backend="crosssim")

pytest.importorskip("simulator", reason="CrossSim 3.2 is not installed; the backend that runs it cannot be tested")

DAY_S = 86400.0
CHIP = Axes(7).at(chip=2)


def crosssims_draws(crossbar: Crossbar, axes: Axes, time_s: float) -> LayerDraws:
    """The random numbers that CrossSim gives to each array of devices in turn, row by row.

    Before that each of its arrays draws one number to try its device on a state of 0, where that has an error; and an
    array whose devices all have none draws nothing.
    """
    source = np.random.RandomState(axes.at(effect="crosssim").seed() % 2**32)
    draw = source.uniform if crossbar.device.cell.programming.distribution == "uniform" else source.normal
    silent_at_zero = crossbar.device.cell.state == "current"
    if not silent_at_zero:
        draw(size=len(crossbar.weights.mapping.signs))

    def numbers(effect: str, targets: Tensor) -> Tensor:
        if silent_at_zero and time_s == 0 and not targets.any():
            return torch.zeros_like(targets)
        return torch.from_numpy(draw(size=tuple(targets.shape))).to(targets.dtype)

    return lambda array: numbers


DEVICES = st.sampled_from(
    [
        ("rram-milo2021", 0.0),
        ("rram-wan2022", 0.0),
        ("pcm-joshi2020", 0.0),
        ("independent-gaussian", 0.0),
        ("proportional-uniform", 0.0),
        ("sonos-agrawal2022", 0.0),
        ("sonos-agrawal2022", 1.0 * DAY_S),
        ("sonos-agrawal2022", 3.4 * DAY_S),
        ("sonos-agrawal2022", 6.0 * DAY_S),
    ]
)
MAPPINGS = st.sampled_from(
    ["one-sided", "two-sided", "offset", BitSliced(8, 2), BitSliced(9, 2), BitSliced(7, 3), BitSliced(5, 1)]
)


def both(crossbar: Crossbar, matrix: Tensor, time_s: float, draws_of: Axes) -> tuple[Tensor, Tensor]:
    """(our weights, CrossSim's weights) of one chip [max|W|], ours with the draws that CrossSim has for `draws_of`."""
    layer = nn.Linear(matrix.shape[1], matrix.shape[0], bias=False)
    layer.weight.data = matrix.float()
    theirs = program_on_crosssim(nn.Sequential(layer), crossbar, CHIP, time_s)[0].arrays.programmed
    draws = crosssims_draws(crossbar, draws_of, time_s)
    ours = read_back(
        crossbar.device,
        crossbar.weights,
        program_matrix(crossbar.device, crossbar.weights, layer.weight.detach().double(), draws, time_s=time_s),
    )
    scale = matrix.abs().max()
    return ours / scale, theirs / scale


def steps_of(crossbar: Crossbar) -> float:
    """The largest step between neighbouring levels, in units of max|W|: how far an element on a tie may be off."""
    sliced = isinstance(crossbar.weights.mapping, BitSliced)
    step = 2.0 / (2**crossbar.weights.cell_bits - 2) if crossbar.weights.cell_bits else 0.0
    return step + (2.0 / (2 ** (crossbar.weights.mapping.weight_bits - 1) - 1) if sliced else 0.0)


@settings(derandomize=True)
@given(
    device=DEVICES,
    mapping=MAPPINGS,
    cell_bits=st.sampled_from([0, 3, 5, 8]),
    percentile=st.sampled_from([1.0, 0.99, 0.9]),
    outputs=st.integers(1, 12),
    inputs=st.integers(1, 20),
    seed=st.integers(0, 2**31),
)
def test_given_crosssims_random_numbers_our_devices_are_crosssims(
    device, mapping, cell_bits, percentile, outputs, inputs, seed
):
    name, time_s = device
    crossbar = Crossbar(
        name, mapping=mapping, cell_bits=cell_bits, weight_percentile=percentile, read_noise=False, error_scale=1.0
    )
    matrix = torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(seed))
    ours, theirs = both(crossbar, matrix, time_s, CHIP.at(layer="0"))
    # CrossSim takes powers of drifting currents in float32: up to 2.3e-5 of max|W| of its own.
    tolerance = 5e-5 if time_s else 1e-5
    error = (ours - theirs).abs()
    # A target on the edge between two levels may go either way in float32: at most one element, by at most a step.
    tied = error > tolerance
    assert int(tied.sum()) <= (1 if steps_of(crossbar) else 0)
    assert float(error.max()) < tolerance + 1.2 * steps_of(crossbar)


@pytest.mark.parametrize("device", ["rram-milo2021", "sonos-agrawal2022"])
def test_with_another_chips_random_numbers_they_are_not(device):
    matrix = torch.randn(8, 8, generator=torch.Generator().manual_seed(1))
    ours, theirs = both(Crossbar(device, read_noise=False), matrix, 0.0, CHIP.at(layer="0", chip=3))
    assert float((ours - theirs).abs().max()) > 1e-3


def test_numpys_global_stream_is_left_as_it_was_found_when_programming_and_when_reading():
    np.random.seed(11)
    expected = np.random.RandomState(11).normal(size=3)
    model = program(nn.Linear(4, 3), Crossbar("sonos-agrawal2022"), deployment=CROSSSIM)
    with torch.no_grad():
        model(torch.ones(2, 4))
    assert np.array_equal(np.random.normal(size=3), expected)
    with pytest.raises(InputError):
        program(nn.Linear(4, 3), Crossbar("ideal", dac=DAC(bits=3)), deployment=CROSSSIM)
    np.random.seed(11)
    model.arrays.cores[0].matmul = None  # whatever fails within CrossSim
    with torch.no_grad(), pytest.raises(TypeError):
        model(torch.ones(2, 4))
    assert np.array_equal(np.random.normal(size=3), expected)


def weights_of(model: nn.Module) -> list[Tensor]:
    return [module.arrays.programmed for module in model.modules() if hasattr(module, "arrays")]


def test_a_chip_is_the_same_wherever_it_is_made_and_another_chip_is_another():
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(12, 4))
    crossbar = Crossbar("rram-milo2021")
    first = weights_of(program(model, crossbar, chip_seed=1, chip=5, deployment=CROSSSIM))
    np.random.seed(99)
    again = weights_of(program(model, crossbar, chip_seed=1, chip=5, deployment=CROSSSIM))
    other = weights_of(program(model, crossbar, chip_seed=1, chip=6, deployment=CROSSSIM))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_a_chip_ages_instead_of_being_drawn_anew():
    model, crossbar = nn.Linear(40, 20, bias=False), Crossbar("sonos-agrawal2022", read_noise=False)
    error = [
        weights_of(program(model, crossbar, time_s=time_s, deployment=CROSSSIM))[0] - model.weight.detach()
        for time_s in (0.0, DAY_S)
    ]
    assert float(torch.corrcoef(torch.stack([part.flatten() for part in error]))[0, 1]) > 0.8


# Read noise -----------------------------------------------------------------------------------------------------------


def test_read_noise_is_fresh_at_every_multiply_and_starts_anew_with_each_programming():
    layer = nn.Linear(6, 5)
    one, two = (program(layer, Crossbar("sonos-agrawal2022"), deployment=CROSSSIM) for _ in range(2))
    x = torch.randn(1, 6).repeat(2, 1)
    with torch.no_grad():
        reads = [one(x), one(x)]
        again = two(x)
    assert not torch.equal(reads[0][0], reads[0][1])
    assert not torch.equal(reads[0], reads[1])
    assert torch.equal(again, reads[0])


def test_a_copy_goes_on_by_itself_with_the_same_numbers():
    model = program(nn.Linear(6, 5), Crossbar("sonos-agrawal2022"), deployment=CROSSSIM)
    x = torch.randn(3, 6)
    with torch.no_grad():
        twin = copy.deepcopy(model)
        expected = [model(x), model(x)]
        assert [torch.equal(twin(x), value) for value in expected] == [True, True]


def test_the_spread_of_reads_is_that_of_the_devices():
    layer = nn.Linear(30, 4, bias=False)
    crossbar = Crossbar("sonos-agrawal2022")
    model = program(layer, crossbar, deployment=CROSSSIM)
    x = torch.rand(1, 30)
    with torch.no_grad():
        reads = model(x.repeat(4000, 1)).double()
    states = layer.weight.detach().abs() / layer.weight.detach().abs().max() * 1600.0
    read_std = 12.58037 * (1 - torch.exp(-states / 215.36557)) / 1600.0 * layer.weight.detach().abs().max()
    expected = (read_std.square() @ x.squeeze(0).square()).sqrt()
    # 4000 reads: the standard deviation within 1.1 % (1 sigma); targets instead of programmed states: a few per cent.
    assert torch.allclose(reads.std(dim=0).float(), expected, rtol=0.08)


# Layers ---------------------------------------------------------------------------------------------------------------

LAYERS = {
    "linear": (nn.Linear(7, 5), torch.randn(3, 2, 7)),
    "conv1d": (nn.Conv1d(4, 6, 3, stride=2, padding=1, padding_mode="circular"), torch.randn(3, 4, 9)),
    "conv2d": (nn.Conv2d(3, 4, (3, 2), stride=(1, 2), padding=(2, 1)), torch.randn(3, 3, 6, 7)),
    "same": (nn.Conv2d(3, 4, (4, 3), padding="same", bias=False), torch.randn(3, 3, 6, 7)),
    "dilated": (nn.Conv2d(3, 4, 3, dilation=(1, 2), padding=2, padding_mode="reflect"), torch.randn(3, 3, 7, 7)),
    "grouped": (nn.Conv2d(4, 6, 3, groups=2), torch.randn(3, 4, 6, 7)),
    "depthwise": (nn.Conv2d(4, 8, 3, groups=4, padding=1), torch.randn(3, 4, 6, 7)),
    "conv3d": (nn.Conv3d(2, 3, (1, 2, 3), stride=(2, 1, 1), padding=1), torch.randn(2, 2, 4, 5, 6)),
    "one-by-one": (nn.Conv2d(5, 3, 1, stride=2), torch.randn(2, 5, 5, 4)),
    "attention": (
        nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 12, batch_first=True), 2, enable_nested_tensor=False),
        torch.randn(2, 5, 8),
    ),
}


@pytest.mark.parametrize("bias_rows", [0, 2])
@pytest.mark.parametrize("mapping", ["one-sided", "offset", "bit-sliced"])
@pytest.mark.parametrize("name", LAYERS)
def test_without_errors_every_layer_computes_what_torch_does(name, mapping, bias_rows):
    layer, x = LAYERS[name]
    layer = layer.eval()
    many = BitSliced(16, 2) if mapping == "bit-sliced" else mapping
    crossbar = Crossbar("ideal", window=(0.2, 1.0), mapping=many, bias_rows=bias_rows, rows=50)
    model = program(layer, crossbar, deployment=CROSSSIM)
    with torch.no_grad():
        expected = layer(x)
        assert torch.allclose(model(x), expected, atol=1e-3 if mapping == "bit-sliced" else 1e-5, rtol=0)
    if name not in ("linear", "attention"):
        with torch.no_grad():
            assert torch.allclose(model(x[0]), model(x)[0], atol=1e-6)
            assert model(x[:0]).shape == expected[:0].shape
    assert not list(model.parameters()) or not any(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_dtypes_come_back_as_they_went_in(dtype):
    layer, x = nn.Conv2d(2, 3, 3).to(dtype), torch.randn(2, 2, 5, 5)
    model = program(layer, Crossbar("ideal"), deployment=CROSSSIM)
    with torch.no_grad():
        out = model(x.to(dtype))
        assert out.dtype == dtype
        assert torch.allclose(out.float(), layer.float()(x), atol=0.05)


def test_a_convolution_in_pieces_is_the_convolution(monkeypatch):

    layer, x = nn.Conv2d(2, 3, 3), torch.randn(5, 2, 6, 6)
    curved = {"xbar": {"device": {"nonlinear_IV": {"enable": True, "model": "RRAMMilo"}}}}
    crossbar = Crossbar("rram-milo2021", crosssim=curved)
    whole = program(layer, crossbar, deployment=CROSSSIM)
    with torch.no_grad():
        expected = whole(x)
        monkeypatch.setattr(layers, "STEP_NUMBERS", 700)
        assert torch.allclose(whole(x), expected, atol=1e-5)


def test_the_groups_of_a_convolution_share_one_weight_limit():
    layer = nn.Conv2d(4, 4, 1, groups=2, bias=False)
    layer.weight.data = torch.tensor([0.1, 0.2, 1.0, -0.5]).reshape(4, 1, 1, 1).repeat(1, 2, 1, 1)
    model = program(layer, Crossbar("ideal", cell_bits=2), deployment=CROSSSIM)  # levels 0, 1/3, 2/3, 1
    assert torch.allclose(model.arrays.programmed[:, 0], torch.tensor([0.0, 1 / 3, 1.0, -1 / 3]), atol=0.34)
    assert float(model.arrays.programmed[:2].abs().max()) == pytest.approx(1 / 3)


def test_a_module_under_two_names_becomes_one_and_layers_that_share_a_weight_share_devices():
    shared, tied = nn.Linear(4, 4), nn.Linear(4, 4)
    tied.weight = shared.weight
    model = program(
        nn.ModuleDict({"a": shared, "b": shared, "c": tied}), Crossbar("rram-milo2021"), deployment=CROSSSIM
    )
    assert model["a"] is model["b"]
    assert torch.equal(model["a"].arrays.programmed, model["c"].arrays.programmed)


def test_hooks_of_a_layer_stay():
    layer, seen = nn.Linear(4, 3), []
    layer.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    with torch.no_grad():
        program(layer, Crossbar("ideal"), deployment=CROSSSIM)(torch.ones(2, 4))
    assert seen == [torch.Size([2, 3])]


def test_a_bias_in_rows_carries_their_errors_and_a_layer_without_bias_has_no_rows_for_it():
    crossbar = Crossbar("rram-milo2021", bias_rows=3)
    layer = nn.Linear(6, 4)
    layer.bias.data = torch.tensor([0.3, -0.3, 0.2, 0.1])
    model = program(layer, crossbar, deployment=CROSSSIM)
    assert model.bias is None
    rows = model.arrays.programmed[:, 6:]
    assert rows.shape == (4, 3)
    assert 0 < float((rows.sum(dim=1) - layer.bias.detach()).abs().max()) < 0.3
    bare = program(nn.Linear(6, 4, bias=False), crossbar, deployment=CROSSSIM)
    assert bare.arrays.programmed.shape == (4, 6)


def test_no_batchnorm_is_folded_by_choice():
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3)).eval()
    nn.init.uniform_(model[1].weight, 0.5, 2.0)
    deployment = Deployment(backend="crosssim", fold=False)
    chip = program(model, Crossbar("ideal"), deployment=deployment)
    assert type(chip[1]) is nn.BatchNorm2d
    x = torch.randn(2, 1, 6, 6)
    torch.testing.assert_close(chip(x), model(x), rtol=1e-4, atol=1e-5)


# What is refused ------------------------------------------------------------------------------------------------------


class Scaled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(2 * x)


@pytest.mark.parametrize(
    ("model", "crossbar", "match"),
    [
        (nn.Sequential(nn.ConvTranspose2d(2, 2, 2), nn.Linear(2, 2)), {}, "'0'.*ConvTranspose2d"),
        (nn.ModuleDict({"rnn": nn.LSTM(2, 2)}), {}, "'rnn.weight_ih_l0'"),
        (nn.ModuleDict({"fc": Scaled(3, 2)}), {}, "'fc'"),
        (nn.ModuleDict({"fc": nn.Linear(18, 2)}), {"rows": 5}, "'fc'.*18.*rows=5"),
        (nn.ModuleDict({"fc": nn.Linear(2, 18)}), {"columns": 5}, "'fc'.*18.*columns=5"),
        (nn.ModuleDict({"fc": nn.Linear(17, 2)}), {"rows": 5, "bias_rows": 1}, "'fc'.*18"),
        (nn.ModuleDict({"fc": nn.Linear(3, 2)}), {"adc": ADC(bits=4)}, "'fc'"),
    ],
)
def test_what_crosssims_cores_cannot_do_is_refused_by_the_layers_name(model, crossbar, match):
    with pytest.raises(InputError, match=match):
        program_on_crosssim(prepare(model)[0], Crossbar("ideal", **crossbar), CHIP)


def test_what_crosssim_itself_refuses_is_told_with_the_layers_name():
    bad = {"xbar": {"array": {"parasitics": {"enable": True, "current_from_input": False}}}}
    with pytest.raises(InputError, match=r"CrossSim.*'fc'"):
        program(nn.ModuleDict({"fc": nn.Linear(3, 2)}), Crossbar("rram-milo2021", crosssim=bad), deployment=CROSSSIM)


def test_weights_that_are_not_finite_or_that_the_percentile_would_wipe_out_are_refused():
    layer = nn.Linear(10, 10)
    layer.weight.data = torch.zeros(10, 10)
    layer.weight.data[0, 0] = 1.0
    with pytest.raises(InputError, match=r"weight_percentile.*0\.9"):
        program(layer, Crossbar("ideal", weight_percentile=0.9), deployment=CROSSSIM)
    layer.weight.data[0, 0] = float("nan")
    with pytest.raises(InputError, match="finite"):
        program(layer, Crossbar("ideal"), deployment=CROSSSIM)


def test_gradients_are_refused():
    model = program(nn.Linear(4, 3), Crossbar("ideal"), deployment=CROSSSIM)
    with pytest.raises(InputError, match="gradient"):
        model(torch.ones(2, 4, requires_grad=True))
    assert not model(torch.ones(2, 4)).requires_grad


@pytest.mark.parametrize(("layer", "x"), [(nn.Linear(4, 3), (2, 5)), (nn.Conv2d(4, 3, 3), (2, 3, 5, 5))])
@pytest.mark.parametrize("bias_rows", [0, 1])
def test_an_input_of_the_wrong_size_is_refused(layer, x, bias_rows):
    model = program(layer, Crossbar("ideal", bias_rows=bias_rows), deployment=CROSSSIM)
    with torch.no_grad(), pytest.raises(InputError, match=r"takes \d+ inputs, got \d+"):
        model(torch.ones(x))


def test_a_layer_of_zeros_stays_zero_without_errors():
    layer = nn.Conv2d(4, 4, 3, groups=2)
    layer.weight.data.zero_()
    model = program(layer, Crossbar("ideal"), deployment=CROSSSIM)
    with torch.no_grad():
        assert torch.allclose(model(torch.randn(2, 4, 5, 5)), layer.bias.reshape(1, -1, 1, 1).expand(2, 4, 3, 3))


def test_parasitic_resistances_reach_crosssims_circuit_solver():
    layer, x = nn.Linear(64, 16), torch.rand(4, 64)
    parasitics = {"xbar": {"array": {"parasitics": {"enable": True, "Rp_row": 2.0, "Rp_col": 2.0}}}}
    plain = program(layer, Crossbar("rram-milo2021", error_scale=0.0), deployment=CROSSSIM)
    wired = program(layer, Crossbar("rram-milo2021", error_scale=0.0, crosssim=parasitics), deployment=CROSSSIM)
    with torch.no_grad():
        ideal = layer(x)
        assert torch.allclose(plain(x), ideal, atol=1e-5)
        assert float((wired(x) - ideal).abs().mean()) > 0.01 * float(ideal.abs().mean())


@pytest.mark.parametrize("signed", [False, True])
def test_iv_curves_are_the_cubic_ones_of_the_device(signed):
    # I = G V + n2(G) V^2 + n3(G) V^3 with polynomials of log10 G [S] (CrossSim 3.2, RRAMMilo).
    layer, x = nn.Linear(20, 6, bias=False), torch.rand(4, 20) - (0.5 if signed else 0.0)
    v_read, (low, high) = 0.4, (62.5, 110.0)
    curved = {"xbar": {"device": {"nonlinear_IV": {"enable": True, "model": "RRAMMilo"}, "Vread": v_read}}}
    crossbar = Crossbar(
        "rram-milo2021",
        window=(low, high),
        error_scale=0.0,
        dac=DAC(kind="ideal", full_scale=1.0),
        crosssim=curved,
    )
    weight = layer.weight.detach().double()
    limit = weight.abs().max()

    def currents(sign: float) -> torch.Tensor:
        g = 1e-6 * (low + (high - low) * (sign * weight / limit).clamp(min=0.0))
        log_g, v = g.log10(), v_read * x.double().T
        second = 0.0001388 * log_g**3 + 0.001541 * log_g**2 + 0.005711 * log_g + 0.007063
        third = 8.8710e-05 * log_g**2 + 6.7919e-04 * log_g + 1.2968e-03
        return g @ v + second @ v**2 + third @ v**3

    want = (currents(1.0) - currents(-1.0)).T * limit / (1e-6 * (high - low) * v_read)
    with torch.no_grad():
        got = program(layer, crossbar, deployment=CROSSSIM)(x).double()
        assert float((got - want).norm()) < 1e-4 * float(want.norm())
        assert float((want - layer(x)).norm()) > 0.03 * float(want.norm())
    with pytest.raises(InputError, match="CrossSim alone"):
        program(layer, crossbar)
