"""Our arrays and CrossSim's agree: converters, cuts into arrays, layers, a network's accuracy on many chips."""

import dataclasses
import functools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.datasets import load_digits
from torch import Tensor, nn

from aimc_robust import Crossbar, Deployment, Parasitics
from aimc_robust.hardware.calibration.converter_ranges import calibrate_deployment
from aimc_robust.hardware.config.converters import ADC, DAC
from aimc_robust.hardware.config.standard_mappings import BitSliced
from aimc_robust.hardware.crosssim.parameters import crosssim_parameters
from aimc_robust.hardware.program import program
from aimc_robust.seeding import Axes

pytest.importorskip("simulator", reason="CrossSim 3.2 is not installed; there is nothing to compare with")

# Converters and layers ------------------------------------------------------------------------------------------------


def differing(native: Tensor, crosssim: Tensor) -> float:
    """The share of outputs that differ by more than rounding of float32; steps of an ADC are larger."""
    return float(((native - crosssim).abs() > 1e-4 * crosssim.abs().max()).float().mean())


def both(layer: nn.Module, crossbar: Crossbar, x: Tensor) -> tuple[Tensor, Tensor]:
    """(native, CrossSim) outputs; calibrated natively where the crossbar needs it."""
    deployment = calibrate_deployment(layer, crossbar, Deployment(), [x])
    crosssim = dataclasses.replace(deployment, backend="crosssim")
    with torch.no_grad():
        return program(layer, crossbar, deployment=deployment)(x), program(layer, crossbar, deployment=crosssim)(x)


DACS = st.one_of(
    st.none(),
    st.builds(DAC, bits=st.integers(3, 9)),
    st.builds(DAC, bits=st.integers(3, 9), kind=st.sampled_from(["unsigned", "sign-magnitude", "signed"])),
    st.builds(DAC, bits=st.integers(3, 9), full_scale=st.floats(0.5, 3.0), kind=st.just("sign-magnitude")),
    st.builds(DAC, bits=st.integers(4, 9), slice_bits=st.integers(1, 4)),
    st.builds(DAC, full_scale=st.floats(0.5, 3.0), kind=st.just("ideal")),
)
RANGES = st.one_of(
    st.just("calibrated"),
    st.just("worst-case"),
    st.tuples(st.floats(-4.0, -0.3), st.floats(0.3, 4.0)),
)
ADCS = st.one_of(
    st.none(),
    st.builds(ADC, bits=st.integers(3, 10), range=RANGES, per_slice=st.booleans()),
    st.builds(ADC, bits=st.integers(3, 10), kind=st.just("sign-magnitude"), per_slice=st.booleans()),
)
LAYERS = st.sampled_from(
    [
        (lambda: nn.Linear(24, 8), (40, 24)),
        (lambda: nn.Conv2d(4, 6, 3, stride=2), (4, 4, 9, 9)),
        (lambda: nn.Conv2d(4, 6, 3, groups=2, padding=1, padding_mode="reflect"), (4, 4, 6, 6)),
        (lambda: nn.Conv1d(3, 5, 4, dilation=2), (6, 3, 16)),
        (lambda: nn.Conv3d(2, 4, 2), (3, 2, 4, 5, 4)),
    ]
)


@pytest.mark.filterwarnings("ignore:Warning. Bit sliced core ADC ranges")  # CrossSim's advice for real circuits
@settings(derandomize=True)
@given(
    layer=LAYERS,
    dac=DACS,
    adc=ADCS,
    mapping=st.sampled_from(["one-sided", "two-sided", "offset", BitSliced(8, 2), BitSliced(7, 3)]),
    cell_bits=st.sampled_from([0, 3, 6]),
    low=st.sampled_from([0.0, 0.083, 0.3]),
    rows=st.sampled_from([0, 8, 12]),
    bias_rows=st.sampled_from([0, 0, 2]),
    seed=st.integers(0, 2**31),
)
def test_converters_and_arrays_give_what_crosssims_give(
    layer, dac, adc, mapping, cell_bits, low, rows, bias_rows, seed
):
    if adc is not None and isinstance(adc.range, str) and (cell_bits or isinstance(mapping, BitSliced)):
        # Levels of weights and inputs put currents exactly on the thresholds of a range that is made from them.
        adc = dataclasses.replace(adc, range=(-1.4142, 1.4142) if adc.kind == "sign-magnitude" else (-1.4142, 1.7321))
    if dac is not None and dac.kind != "ideal" and (dac.full_scale or 1.0) < 1:
        bias_rows = 0  # their input of 1 would be clipped, which a crossbar refuses
    make, shape = layer
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module, x = make(), torch.randn(shape)
    crossbar = Crossbar(
        "ideal",
        window=(low, 1.0),
        mapping=mapping,
        cell_bits=cell_bits,
        rows=rows,
        bias_rows=bias_rows,
        dac=dac,
        adc=adc,
    )
    native, crosssim = both(module, crossbar, x)
    # In float32 an input or a current close to a threshold goes either way; one input reaches up to 54 outputs.
    assert differing(native, crosssim) <= (0.0 if dac is None and adc is None else 0.06)


@pytest.mark.parametrize(
    "other",
    [
        {"adc": ADC(bits=7, range=(-2.2, 2.1))},
        {"adc": ADC(bits=6, range=(-2.2, 2.2))},
        {"dac": DAC(bits=5, kind="sign-magnitude", full_scale=2.5)},
        {"dac": DAC(bits=6, kind="signed", full_scale=2.5)},
        {"rows": 12},
    ],
)
def test_with_other_converters_or_arrays_the_outputs_do_not_agree(other):
    torch.manual_seed(0)
    layer, x = nn.Linear(24, 8), torch.randn(40, 24)
    same = {
        "dac": DAC(bits=6, kind="sign-magnitude", full_scale=2.5),
        "adc": ADC(bits=6, range=(-2.2, 2.1)),
    }
    native, crosssim = both(layer, Crossbar("ideal", window=(0.1, 1.0), **same), x)
    assert differing(native, crosssim) < 0.01
    native, _ = both(layer, Crossbar("ideal", window=(0.1, 1.0), **(same | other)), x)
    assert differing(native, crosssim) > 0.3


@pytest.mark.parametrize("bits", [2, 5, 8])
def test_a_zero_input_of_a_signed_dac_becomes_the_level_that_crosssim_gives_it(bits):
    torch.manual_seed(0)
    layer, x = nn.Conv2d(3, 4, 3, padding=2), torch.randn(2, 3, 5, 5).relu()
    for full_scale in torch.linspace(0.31, 5.0, 20).tolist():
        dac = DAC(bits=bits, kind="signed", full_scale=full_scale)
        assert differing(*both(layer, Crossbar("ideal", dac=dac), x)) < 0.01


# IR drop --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "shape"), [(nn.Linear(96, 40), (12, 96)), (nn.Conv2d(8, 16, 3, groups=2), (2, 8, 6, 6))]
)
@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"row_ohm": 1.0}, 1e-4),
        ({"column_ohm": 1.0, "column_terminal_ohm": 10.0}, 1e-4),
        ({"row_ohm": 0.5, "column_ohm": 0.5}, 1e-3),
        ({"row_ohm": 0.5, "column_ohm": 0.5, "interleaved": True}, 1e-3),
        ({"row_ohm": 0.5, "column_ohm": 0.5, "mapping": "offset"}, 1e-3),
        ({"row_ohm": 3.0, "column_ohm": 3.0, "rows": 32, "columns": 20}, 2e-3),
        ({"row_ohm": 30.0, "column_ohm": 30.0, "rows": 32, "bias_rows": 2, "device": "sonos-agrawal2022"}, 2e-3),
        ({"row_ohm": 0.2, "column_ohm": 0.2, "device_ohm": 1000.0, "device": "ideal"}, 1e-3),
    ],
)
def test_currents_behind_resistive_wires_are_those_of_crosssims_solver(layer, shape, options, error):
    torch.manual_seed(0)
    x = torch.rand(shape)
    names = [field.name for field in dataclasses.fields(Parasitics)]
    parasitics = Parasitics(**{name: value for name, value in options.items() if name in names})
    rest = {"device": "rram-milo2021"} | {name: value for name, value in options.items() if name not in names}
    crossbar = Crossbar(error_scale=0.0, read_noise=False, parasitics=parasitics, **rest)
    native, crosssim = both(layer, crossbar, x)
    lost = (crosssim - layer(x)).detach().norm()
    assert float((native - crosssim).norm()) < error * float(crosssim.norm())
    assert float(lost) > 10.0 * error * float(crosssim.norm())


# CrossSim's own layers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["rram-milo2021", "sonos-agrawal2022"])
@pytest.mark.parametrize("mapping", ["one-sided", "bit-sliced"])
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear(20, 6), (5, 20)),
        (nn.Conv1d(3, 4, 3, stride=2, padding=1), (2, 3, 9)),
        (nn.Conv2d(3, 4, 3, stride=2, padding=1), (2, 3, 7, 8)),
        (nn.Conv3d(2, 3, (1, 2, 3)), (2, 2, 3, 4, 5)),
    ],
)
def test_with_the_same_random_numbers_our_layers_are_crosssims_own(layer, shape, mapping, device):
    from simulator import CrossSimParameters
    from simulator.algorithms.dnn.torch.convert import from_torch

    crossbar = Crossbar(
        device,
        mapping=mapping,
        rows=9,
        read_noise=False,
        dac=DAC(bits=6, kind="sign-magnitude", full_scale=2.0),
        adc=ADC(bits=8, range=(-1.8, 1.9)),
    )
    ours = program(layer, crossbar, chip_seed=3, chip=1, deployment=Deployment(backend="crosssim"))
    before = np.random.get_state()
    theirs = from_torch(layer, CrossSimParameters(**crosssim_parameters(crossbar)))
    np.random.seed(Axes(3).at(chip=1, layer="weight", effect="crosssim").seed() % 2**32)
    theirs.reinitialize()
    np.random.set_state(before)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.allclose(ours(x), theirs.eval()(x), atol=1e-6)


# Statistics -----------------------------------------------------------------------------------------------------------

CHIPS = 25


@functools.cache
def digits_network() -> tuple[nn.Module, Tensor, Tensor]:
    """A small convolutional network trained on scikit-learn's digits, and 200 images to test it with."""
    data = load_digits()
    images = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1) / 16.0
    labels = torch.tensor(data.target)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 10)
        )
        optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
        for _ in range(60):
            loss = nn.functional.cross_entropy(network(images[200:]), labels[200:])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network.eval(), images[:200], labels[:200]


@functools.cache
def scores(device: str, backend: str, time_s: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy [%] and root mean square error of the outputs, for each of 25 chips."""
    network, images, labels = digits_network()
    # Levels, cuts into arrays and converters take part.
    crossbar = Crossbar(device, cell_bits=5, rows=64, dac=DAC(bits=6), adc=ADC(bits=8))
    deployment = dataclasses.replace(calibrate_deployment(network, crossbar, Deployment(), [images]), backend=backend)
    accuracies, errors = [], []
    with torch.no_grad():
        exact = network(images)
        for chip in range(CHIPS):
            outputs = program(network, crossbar, chip_seed=5, chip=chip, time_s=time_s, deployment=deployment)(images)
            accuracies.append(100.0 * float((outputs.argmax(dim=1) == labels).float().mean()))
            errors.append(float((outputs - exact).square().mean().sqrt()))
    return np.array(accuracies), np.array(errors)


# The tests below draw fixed chips; alpha is the probability that chips drawn anew would fail one although both
# backends have the same distribution.
ALPHA = 1e-3


@pytest.mark.parametrize(
    ("device", "time_s"),
    [("rram-milo2021", 0.0), ("pcm-joshi2020", 0.0), ("sonos-agrawal2022", 0.0), ("sonos-agrawal2022", 2.5 * 86400.0)],
)
def test_a_network_scores_the_same_on_chips_of_either_backend(device, time_s):
    for ours, theirs in zip(scores(device, "native", time_s), scores(device, "crosssim", time_s), strict=True):
        assert stats.ttest_ind(ours, theirs, equal_var=False).pvalue > ALPHA
        assert stats.ks_2samp(ours, theirs).pvalue > ALPHA


@pytest.mark.parametrize(("one", "other"), [("rram-milo2021", "rram-wan2022"), ("rram-milo2021", "sonos-agrawal2022")])
def test_another_device_does_not_score_the_same(one, other):
    ours, theirs = scores(one, "native")[1], scores(other, "crosssim")[1]
    assert stats.ttest_ind(ours, theirs, equal_var=False).pvalue < ALPHA
    assert stats.ks_2samp(ours, theirs).pvalue < ALPHA
