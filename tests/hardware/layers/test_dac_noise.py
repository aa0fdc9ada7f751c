"""Noise of DACs: what is shared between outputs and what is not, against dense oracles and the slow form."""

import copy
from unittest import mock

import numpy as np
import pytest
import torch
from scipy import stats
from support.for_each import for_each
from support.models import fill, images, small_model
from torch import Tensor, nn
from torch.nn import functional as F

from aimc_robust import DAC, BitSliced, Crossbar, program
from aimc_robust.hardware.layers.noisy_inputs import NoisyInputs

READS, STD, FULL_SCALE = 4000, 0.3, 2.0
NOISY = DAC(kind="ideal", full_scale=FULL_SCALE, noise=STD)


def quiet(crossbar: Crossbar) -> Crossbar:
    return crossbar.replace(dac=DAC(kind="ideal", full_scale=FULL_SCALE), read_noise=False)


def noise_of(layer: nn.Module, crossbar: Crossbar, x: Tensor) -> Tensor:
    """(reads, outputs, *positions) of what a read adds; `x` is one image."""
    with torch.no_grad():
        return program(layer, crossbar)(x.expand(READS, *x.shape)) - program(layer, quiet(crossbar))(x.unsqueeze(0))


def covariance(noise: Tensor) -> np.ndarray:
    """Between all outputs of all positions."""
    return np.cov(noise.flatten(1).double().numpy().T)


def standard_errors(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest deviation of a covariance of Gaussian numbers in its standard errors."""
    variances = np.diag(expected)
    error = np.sqrt((np.outer(variances, variances) + expected**2) / READS)
    return float((np.abs(found - expected) / np.maximum(error, 1e-12)).max())


def expected_covariance(layer: nn.Module, shape: tuple[int, ...], **cut: int) -> np.ndarray:
    """By the definition: every array (rows, columns) has a number of its own for each row that it drives, at each read.

    Each position of a convolution is a read of its own.
    """
    linear = isinstance(layer, nn.Linear)
    weight = layer.weight.detach().double()
    groups = 1 if linear else layer.groups
    matrix = weight.flatten(1).unflatten(0, (groups, -1)).numpy()  # (groups, columns, rows)
    positions = 1 if linear else int(np.prod(shape[1:]))
    rows, columns = cut.get("rows") or matrix.shape[2], cut.get("columns") or matrix.shape[1]
    total = np.zeros((groups * matrix.shape[1], positions, groups * matrix.shape[1], positions))
    for group, states in enumerate(matrix):
        for first in range(0, states.shape[1], rows):
            for column in range(0, states.shape[0], columns):
                part = states[column : column + columns, first : first + rows]
                outputs = slice(group * len(states) + column, group * len(states) + column + len(part))
                for position in range(positions):
                    total[outputs, position, outputs, position] += part @ part.T
    return (STD * FULL_SCALE) ** 2 * total.reshape(total.shape[0] * positions, -1)


LAYERS = {
    "linear": (nn.Linear(8, 3), (8,), {}),
    "linear in arrays": (nn.Linear(8, 4), (8,), {"rows": 4, "columns": 2}),
    "conv": (nn.Conv2d(2, 3, 3), (2, 4, 3), {}),
    "padded": (nn.Conv2d(2, 3, 3, padding=1), (2, 3, 2), {}),
    "conv in arrays": (nn.Conv2d(2, 4, 3), (2, 4, 3), {"rows": 9, "columns": 2}),
    "more columns than rows": (nn.Conv1d(1, 5, 2), (1, 4), {}),
    "grouped": (nn.Conv1d(4, 4, 3, groups=2, stride=2), (4, 5), {"columns": 1}),
}


@pytest.mark.parametrize("name", LAYERS)
def test_columns_of_an_array_share_the_noise_of_its_rows_and_arrays_and_windows_do_not(name):
    layer, shape, cut = LAYERS[name]
    layer = fill(copy.deepcopy(layer)).double()
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    noise = noise_of(layer, Crossbar("ideal", dac=NOISY, **cut), x)
    expected = expected_covariance(layer, noise.shape[1:], **cut)
    assert standard_errors(covariance(noise), expected) < 5.0
    assert stats.kstest(noise[:, 0].flatten() / noise[:, 0].std(), "norm").pvalue > 1e-4
    # Controls: a tenth more noise, and outputs that do not share it.
    assert standard_errors(covariance(1.1 * noise), expected) > 5.0
    if cut.get("columns") != 1:
        assert standard_errors(np.diag(np.diag(covariance(noise))), expected) > 5.0


@pytest.mark.parametrize("name", ["conv", "conv in arrays", "grouped"])
def test_fewer_numbers_have_the_distribution_of_one_per_row(name):
    layer, shape, cut = LAYERS[name]
    layer, x = fill(copy.deepcopy(layer)).double(), torch.randn(shape, dtype=torch.float64)
    crossbar = Crossbar("ideal", mapping="two-sided", dac=NOISY, bias_rows=1, **cut)
    fast = noise_of(layer, crossbar, x)
    with mock.patch.object(NoisyInputs, "read_noisy_inputs", NoisyInputs._noise_on_inputs):
        slow = noise_of(layer, crossbar, x)
    assert not torch.equal(fast, slow)
    for ours, theirs in zip(fast.flatten(1).T[:8], slow.flatten(1).T[:8], strict=True):
        assert stats.ks_2samp(ours, theirs).pvalue > 1e-4
        assert stats.ks_2samp(ours, 1.25 * theirs).pvalue < 1e-2  # control
    scale = float(fast.var())
    np.testing.assert_allclose(covariance(fast) / scale, covariance(slow) / scale, atol=0.25)
    # Sums over outputs see what the outputs share.
    assert stats.ks_2samp(fast.flatten(1).sum(1), slow.flatten(1).sum(1)).pvalue > 1e-4


@for_each("name", ["linear", "conv", "padded", "grouped"])
def test_with_read_noise_the_devices_see_the_noisy_inputs(name):
    # Var = sum g^2 s^2 + (x^2 + s^2) v, with the variances v that the layer stores, here made large.
    layer, shape, cut = LAYERS[name]
    layer = fill(copy.deepcopy(layer)).double()
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    crossbar = Crossbar("sonos-agrawal2022", dac=NOISY, **cut)
    analog = program(layer, crossbar)
    with torch.no_grad():
        analog.variances_0.mul_(3000.0)
        noise = analog(x.expand(READS, *shape))
    exact = copy.deepcopy(layer).requires_grad_(False)
    s, limit = STD * FULL_SCALE, float(analog.scale)

    def products(matrix: Tensor, inputs: Tensor) -> Tensor:
        exact.weight.copy_(matrix.reshape(exact.weight.shape))
        return exact(inputs.unsqueeze(0))[0] - layer.bias.reshape(-1, *[1] * (x.ndim - 1))

    with torch.no_grad():
        states, ones = analog.weight / limit, torch.ones_like(x)
        if name == "padded":  # padded inputs are driven, and have noise
            x, ones, exact.padding = F.pad(x, (1, 1, 1, 1)), torch.ones(2, 5, 4, dtype=torch.float64), (0, 0)
        from_dac = products(states.square(), ones) * s**2
        read = analog.variances_0 * analog.factors[0] ** 2
        from_devices = products(read, x.square()) + products(read, ones) * s**2
        expected = limit**2 * (from_dac + from_devices)
        without = limit**2 * (from_dac + products(read, x.square()))
    assert (noise.var(dim=0) / expected - 1.0).abs().max() < 5.0 * (2.0 / READS) ** 0.5
    assert (noise.var(dim=0) / without - 1.0).abs().max() > 5.0 * (2.0 / READS) ** 0.5  # the product of both counts


def test_rows_that_are_not_driven_have_no_noise():
    layer = fill(nn.ConvTranspose1d(2, 3, 2, stride=3)).double()  # 3 outputs per input: the third has no input
    x = torch.randn(2, 2, dtype=torch.float64)
    noise = noise_of(layer, Crossbar("ideal", dac=NOISY), x)
    expected = (STD * FULL_SCALE) ** 2 * layer.weight.detach().square().sum(dim=0)  # (outputs, kernel)
    variances = noise.var(dim=0)
    assert noise[..., 2].abs().max() < 1e-12
    for position in (0, 1, 3, 4):
        ratio = variances[:, position] / expected[:, position % 3]
        assert (ratio - 1.0).abs().max() < 5.0 * (2.0 / READS) ** 0.5
    dense = F.conv_transpose1d(x.unsqueeze(0), layer.weight, layer.bias, stride=3)
    torch.testing.assert_close(program(layer, quiet(Crossbar("ideal", dac=NOISY)))(x.unsqueeze(0)), dense)


def test_slices_of_weights_and_of_inputs_have_noise_of_their_own():
    layer = fill(nn.Linear(8, 3)).double()
    x, sliced = torch.zeros(8, dtype=torch.float64), BitSliced(weight_bits=7, slices=2)
    noise = noise_of(layer, Crossbar("ideal", mapping=sliced, dac=NOISY), x)
    limit = float(layer.weight.detach().abs().max())
    code = (layer.weight.detach() / limit * 63).round()
    low, high = code.abs().remainder(8), (code.abs() / 8).floor()
    expected = (STD * FULL_SCALE * limit / 63) ** 2 * (low.square() + (8 * high).square()).sum(dim=1)
    assert (noise.var(dim=0) / expected - 1.0).abs().max() < 5.0 * (2.0 / READS) ** 0.5
    bits = DAC(bits=3, kind="unsigned", full_scale=FULL_SCALE, slice_bits=1, noise=STD)
    crossbar = Crossbar("ideal", dac=bits)
    with torch.no_grad():
        noise = program(layer, crossbar)(x.expand(READS, -1)) - layer.bias
    expected = (STD * FULL_SCALE) ** 2 * (1 + 4 + 16) / 49 * layer.weight.detach().square().sum(dim=1)
    assert (noise.var(dim=0) / expected - 1.0).abs().max() < 5.0 * (2.0 / READS) ** 0.5


def test_it_comes_after_rounding_and_is_not_clipped():
    layer = fill(nn.Linear(1, 1, bias=False)).double()
    dac = DAC(bits=2, kind="sign-magnitude", full_scale=FULL_SCALE, noise=0.01)
    with torch.no_grad():
        inputs = program(layer, Crossbar("ideal", dac=dac))(torch.full((READS, 1), 5.0, dtype=torch.float64))
        inputs = inputs / layer.weight
    assert abs(float(inputs.mean()) - FULL_SCALE) < 0.01
    assert float(inputs.max()) > FULL_SCALE
    assert float(inputs.std()) == pytest.approx(0.01 * FULL_SCALE, rel=0.05)


@for_each("crossbar", [Crossbar("rram-milo2021", rows=7), Crossbar("pcm-nandakumar2019", columns=2)])
def test_it_does_not_depend_on_the_batch_and_is_drawn_at_every_read(crossbar):
    noisy, x = crossbar.replace(dac=NOISY), images(7)
    with torch.no_grad():
        analog = program(small_model(), noisy)
        whole, second = analog(x), analog(x)
        again = program(small_model(), noisy)
        parts = torch.cat([again(part) for part in x.split(3)])
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-5)
    assert not torch.equal(whole, second)


@for_each("name", ["linear", "linear in arrays", "conv", "more columns than rows", "grouped"])
@for_each("card", ["ideal", "sonos-agrawal2022"])
def test_gradients_are_those_of_the_noisy_inputs_and_numbers_are_the_same_without(name, card):
    layer, shape, cut = LAYERS[name]
    layer = fill(copy.deepcopy(layer)).double()
    x = torch.randn(3, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def outputs(step: float = 0.0) -> tuple[nn.Module, Tensor]:
        analog = program(layer, Crossbar(card, dac=NOISY, **cut))
        if step:
            with torch.no_grad():
                analog._parameters["weight"].view(-1)[3] += step
        return analog, analog(x)

    analog, y = outputs()
    with torch.no_grad():
        assert torch.equal(outputs()[1], y)
    if card == "ideal" and not cut and isinstance(layer, nn.Linear):  # the noise is that of fixed inputs: exact
        up, down = outputs(1e-4)[1], outputs(-1e-4)[1]
        (gradient,) = torch.autograd.grad(y.square().sum(), analog._parameters["weight"])
        measured = float((up.square().sum() - down.square().sum()).detach() / 2e-4)
        assert float(gradient.flatten()[3]) == pytest.approx(measured, rel=1e-5)
    else:
        y.square().sum().backward()
        assert torch.isfinite(analog._parameters["weight"].grad).all()


def test_the_mean_gradient_weighs_the_noise_against_the_weights():
    # E[grad of (w (x + n))^2] = 2 w (x^2 + s^2), also where fewer numbers than rows are drawn.
    layer = nn.Conv1d(2, 1, 1, bias=False).double()
    layer.weight.data[:] = torch.tensor([[[1.0], [0.5]]])
    analog, x = program(layer, Crossbar("ideal", dac=NOISY)), torch.zeros(READS, 2, 1, dtype=torch.float64)
    x[:, 0] = 1.0
    analog(x).square().sum().backward()
    s = (STD * FULL_SCALE) ** 2
    expected = 2 * torch.tensor([1.0 + s * 1.0, 0.5 * s])
    found = analog._parameters["weight"].grad.flatten() / READS
    assert float(found[0]) == pytest.approx(float(expected[0]), rel=0.1)
    assert float(found[1]) == pytest.approx(float(expected[1]), rel=0.25)
