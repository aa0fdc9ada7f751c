"""Read noise: one normal number per output has the distribution of one noisy state per device; batches do not matter.

The slow form draws the state of every device anew for every multiply and multiplies with that.
"""

import math
import warnings

import numpy as np
import pytest
import torch
from scipy import stats
from support.for_each import for_each
from support.models import fill
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from aimc_robust import ADC, DAC, BitSliced, Crossbar, program
from aimc_robust.devices.cell_model_checks import read_std
from aimc_robust.errors import InputError
from aimc_robust.hardware.program import chip_axes
from aimc_robust.hardware.programming.programmed_matrix import Chip, with_bias_rows
from aimc_robust.hardware.programming.weights_to_states import program_matrix
from aimc_robust.noise.analog_weights import analog_weights

READS = 4000
# Of each p-value; there are 66 in all, so that a right implementation would fail for 7 of 1000 seeds.
ALPHA = 1e-4
MAPPINGS = ["one-sided", "two-sided", "offset", BitSliced(weight_bits=8, slices=2)]


def layer() -> nn.Linear:
    return fill(nn.Linear(9, 3)).double().requires_grad_(False)


def example() -> Tensor:
    return torch.randn(9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def slow_reads(crossbar: Crossbar, x: Tensor, time_s: float, *, factor: float = 1.0) -> np.ndarray:
    """(reads, outputs) without bias: every device's state drawn anew for every read; factor: on the noise."""
    model, generator = layer(), torch.Generator().manual_seed(2)
    weight = analog_weights(model)["weight"]
    chip = Chip(axes=chip_axes(0, 0), time_s=time_s)
    cells = program_matrix(
        crossbar.device, crossbar.weights, with_bias_rows(crossbar, weight), chip.draws(weight), time_s=time_s
    )
    states = [type(cell)(cell.programmed.clone(), cell.now.clone()) for cell in cells.states]
    low, high = crossbar.device.programming_window
    outputs = torch.zeros(READS, 3, dtype=torch.float64)
    rows = torch.cat([x, x.new_ones(crossbar.arrays.bias_rows)])
    noisy = []
    for state in states:
        std = factor * read_std(crossbar.device.cell, state, time_s=time_s)
        noise = torch.randn((READS, *std.shape), generator=generator, dtype=torch.float64)
        noisy.append((state.now + std * noise) / high)
    u = crossbar.weights.mapping.to_weights(iter(noisy), low / high, crossbar.weights.cell_bits)
    outputs = (u * cells.limit * rows).sum(dim=-1)
    return outputs.numpy()


def fast_reads(crossbar: Crossbar, x: Tensor, time_s: float) -> np.ndarray:
    model = layer()
    y = program(model, crossbar, time_s=time_s)(x.expand(READS, -1))
    return (y - (0.0 if crossbar.arrays.bias_rows else model.bias)).numpy()


def p_values(fast: np.ndarray, slow: np.ndarray) -> list[float]:
    """Of equal distributions, by Kolmogorov and Smirnov, and of equal variances, by F; for each output."""
    found = []
    for ours, theirs in zip(fast.T, slow.T, strict=True):
        found.append(float(stats.ks_2samp(ours, theirs).pvalue))
        ratio, n = ours.var(ddof=1) / theirs.var(ddof=1), READS - 1
        found.append(2.0 * min(stats.f.cdf(ratio, n, n), stats.f.sf(ratio, n, n)))
    return found


CROSSBARS = {
    **{f"sonos, {mapping}": (Crossbar("sonos-agrawal2022", mapping=mapping), 0.0) for mapping in MAPPINGS},
    "sonos, levels": (Crossbar("sonos-agrawal2022", cell_bits=4), 0.0),
    "sonos, a day": (Crossbar("sonos-agrawal2022"), 86400.0),
    "sonos, columns": (Crossbar("sonos-agrawal2022", scaling="column", rows=4), 0.0),
    "sonos, bias rows": (Crossbar("sonos-agrawal2022", bias_rows=2, rows=4), 0.0),
    "pcm, an hour": (Crossbar("pcm-nandakumar2019"), 3600.0),
    "reram, an hour": (Crossbar("reram-cmo-falcone2025"), 3600.0),
}


@pytest.mark.parametrize("name", CROSSBARS)
def test_one_number_per_output_has_the_distribution_of_one_per_device(name):
    crossbar, time_s = CROSSBARS[name]
    fast, slow = fast_reads(crossbar, example(), time_s), slow_reads(crossbar, example(), time_s)
    assert min(p_values(fast, slow)) > ALPHA
    correlation = np.corrcoef(fast.T)[np.triu_indices(3, 1)]
    assert np.abs(correlation).max() < 4.5 / READS**0.5  # outputs are independent


@pytest.mark.parametrize("name", CROSSBARS)
def test_the_check_of_the_distribution_fails_for_a_tenth_more_noise(name):
    crossbar, time_s = CROSSBARS[name]
    fast, slow = fast_reads(crossbar, example(), time_s), slow_reads(crossbar, example(), time_s, factor=1.1)
    assert min(p_values(fast, slow)) < ALPHA


def test_a_convolution_has_the_noise_of_its_windows():
    # One window, so that the convolution is the linear layer: same devices, same spread.
    linear = layer()
    conv = nn.Conv2d(1, 3, 3).double().requires_grad_(False)
    conv.weight.copy_(linear.weight.reshape(3, 1, 3, 3))
    crossbar = Crossbar("sonos-agrawal2022")
    y = program(conv, crossbar)(example().reshape(1, 1, 3, 3).expand(READS, -1, -1, -1))[..., 0, 0] - conv.bias
    assert min(p_values(y.numpy(), slow_reads(crossbar, example(), 0.0))) > ALPHA
    assert min(p_values(y.numpy(), slow_reads(crossbar, example(), 0.0, factor=1.1))) < ALPHA


def test_with_input_slices_every_slice_reads_anew():
    # Slices k = 0, 1, ... of c bits: the noise of slice k is weighted by 2^k / (2^c - 1), and its rows by their bits.
    dac = DAC(bits=3, kind="unsigned", full_scale=7.0, slice_bits=1)
    x = torch.tensor([7.0, 5.0, 3.0, 1.0, 0.0, 6.0, 4.0, 2.0, 7.0], dtype=torch.float64)
    crossbar = Crossbar("sonos-agrawal2022", dac=dac)
    bits = [(x.long() >> k) % 2 for k in range(3)]
    slow = sum(2.0**k * slow_reads(crossbar, part.double(), 0.0) for k, part in enumerate(bits))
    independent = np.sqrt(
        sum(4.0**k * slow_reads(crossbar, part.double(), 0.0).var(axis=0) for k, part in enumerate(bits))
    )
    fast = fast_reads(crossbar, x, 0.0)
    ratio = fast.std(axis=0) / independent
    assert np.abs(ratio - 1.0).max() < 4.5 / np.sqrt(2 * READS)
    assert np.abs(fast.mean(axis=0) - slow.mean(axis=0)).max() < 0.02 * np.abs(slow).max()
    whole = fast_reads(Crossbar("sonos-agrawal2022"), x, 0.0).std(axis=0)
    assert np.abs(whole / independent - 1.0).max() > 0.05


def test_the_adc_sees_the_noise():
    # A current of 4.5 at the threshold of a 1-bit ADC: noise alone decides, half of the times.
    model = nn.Linear(9, 2, bias=False).requires_grad_(False)
    nn.init.constant_(model.weight, 0.5)
    model.weight[0, 0] = 1.0
    converters = {"dac": DAC(kind="ideal", full_scale=1.0), "adc": ADC(bits=1, range=(3.5, 5.5))}
    y = program(model, Crossbar("sonos-agrawal2022", error_scale=0.0, **converters))(torch.ones(1000, 9))[:, 1]
    assert torch.unique(y).tolist() == [3.5, 5.5]
    assert abs(float(y.mean()) - 4.5) < 4.5 / 1000**0.5


LAYERS = {
    "linear": (nn.Linear(9, 5), (7, 9)),
    "linear, 3 dimensions": (nn.Linear(9, 17), (7, 3, 9)),
    "conv2d": (nn.Conv2d(2, 3, 3, stride=2), (7, 2, 8, 6)),
    "conv1d": (nn.Conv1d(2, 5, 3), (7, 2, 9)),
    "depthwise": (nn.Conv2d(6, 6, 3, groups=6), (7, 6, 5, 5)),
    "transposed": (nn.ConvTranspose2d(2, 3, 3, stride=2), (7, 2, 3, 3)),
}


@for_each("mapping", ["one-sided", BitSliced(weight_bits=8, slices=2)])
@for_each("rows", [0, 4])
@for_each("name", LAYERS)
def test_the_noise_of_an_image_does_not_depend_on_its_batch(name, rows, mapping):
    model, shape = fill(LAYERS[name][0]), LAYERS[name][1]
    x = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    crossbar = Crossbar("sonos-agrawal2022", rows=rows, mapping=mapping)
    quiet = Crossbar("sonos-agrawal2022", rows=rows, mapping=mapping, read_noise=False, dac=DAC(kind="ideal"))
    noise = {}
    for size in (7, 1, 3):
        analog, exact = program(model, crossbar), program(model, quiet)
        seen = []
        for array in range(len(analog.factors)):
            for tile in range(len(analog.tiles)):
                draws = [
                    analog.noise.draw(exact(part), (array, tile), outputs_last=analog.outputs_last)
                    for part in x.split(size)
                ]
                seen.append(torch.cat(draws))
        noise[size] = torch.stack(seen)
        analog = program(model, crossbar)
        noise[size, "y"] = torch.cat([analog(part) for part in x.split(size)]).detach()
    for size in (1, 3):
        assert torch.equal(noise[size], noise[7])  # bit for bit
        torch.testing.assert_close(noise[size, "y"], noise[7, "y"], rtol=0, atol=1e-5)  # sums may be ordered otherwise
    expected = 2**16 * (1.0 - math.exp(-noise[7].numel() / 2**16))  # distinct ones of 2^16 values
    assert len(torch.unique(noise[7])) > 0.98 * expected


def traced(model, x):
    return torch.jit.trace(model, x, check_trace=False)


def exported(model, x):
    return torch.export.export(model, (x,)).module()


def graph(model, x):
    return make_fx(model)(x)


@pytest.mark.parametrize(
    "record",
    [
        traced,
        pytest.param(
            exported, marks=pytest.mark.skipif(torch.__version__ < (2, 8), reason="torch 2.7 refuses in its own words")
        ),
        graph,
    ],
)
def test_a_recorded_forward_pass_refuses_to_freeze_it(record):
    model, x = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2)), torch.ones(3, 8)
    noisy = program(model, Crossbar("pcm-nandakumar2019"))
    with pytest.raises(InputError, match=r"'0' draws read noise.*read_noise=False"):
        record(noisy, x)
    assert not torch.equal(noisy(x), noisy(x))  # the model itself goes on
    exact = program(
        model, Crossbar("pcm-nandakumar2019", read_noise=False, dac=DAC(bits=8, kind="signed", full_scale=1.0))
    )
    with torch.no_grad():
        assert torch.equal(record(exact, x)(x), exact(x))


@pytest.mark.slow
def test_a_compiled_model_draws_it_at_every_call():
    model, x = nn.Sequential(nn.Linear(8, 4)), torch.ones(3, 8)
    noisy = program(model, Crossbar("pcm-nandakumar2019"))
    compiled = torch.compile(noisy, backend="eager")
    assert len({tuple(compiled(x).flatten().tolist()) for _ in range(3)}) == 3


def test_vmap_asks_whether_all_instances_may_have_the_same_noise():
    model, x = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2)).double(), torch.ones(3, 5, 8).double()
    noisy = program(model, Crossbar("pcm-nandakumar2019"))
    for options in ({}, {"randomness": "different"}):  # by default, as torch's own dropout does
        with pytest.raises(InputError, match=r"'0' draws read noise, .*randomness='same'"):
            torch.func.vmap(noisy, **options)(x)
    with pytest.raises(InputError, match="'0' draws read noise"):
        torch.func.vmap(torch.func.grad(lambda one: noisy(one).sum()))(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch has no batched addcmul_
        first, *others = torch.func.vmap(noisy, randomness="same")(x)
    for other in others:
        torch.testing.assert_close(other, first)
    assert not torch.allclose(noisy(x[0]), first)
    torch.func.grad(lambda one: noisy(one).sum())(x[0])
    exact = program(model, Crossbar("pcm-nandakumar2019", read_noise=False))
    torch.testing.assert_close(torch.func.vmap(exact)(x)[0], exact(x[0]))
