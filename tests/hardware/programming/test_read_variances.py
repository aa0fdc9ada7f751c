"""The variances of read noise, in 8 bits on a CPU."""

import pytest
import torch
from support.models import fill
from torch import nn

from aimc_robust import ADC, DAC, Crossbar, program
from aimc_robust.hardware.programming import read_noise
from aimc_robust.hardware.programming.read_noise import to_variance_type

LAYERS = {
    "linear": (nn.Linear(300, 40), (6, 300)),
    "conv2d": (nn.Conv2d(32, 24, 3, padding=1), (2, 32, 6, 6)),
    "depthwise": (nn.Conv2d(6, 6, 3, groups=6), (2, 6, 5, 5)),
    "transposed": (nn.ConvTranspose1d(8, 6, 3, stride=2), (2, 8, 9)),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("bias_rows", [0, 2])
def test_the_standard_deviation_errs_by_a_thousandth_and_by_a_hundredth_at_most(name, bias_rows):
    layer, shape = fill(LAYERS[name][0]).requires_grad_(False), LAYERS[name][1]
    x = torch.randn(shape, generator=torch.Generator().manual_seed(8))
    crossbar = Crossbar("sonos-agrawal2022", bias_rows=bias_rows)
    noise = {}
    for kind in (torch.float32, torch.float64):  # float64 is not rounded, and has the same random numbers
        options = {"bias_rows": bias_rows, "dac": DAC(kind="ideal")}
        quiet = program(layer.to(kind), Crossbar("sonos-agrawal2022", read_noise=False, **options))(x.to(kind))
        noise[kind] = (program(layer.to(kind), crossbar)(x.to(kind)) - quiet).double()
    big = noise[torch.float64].abs() > 0.1 * noise[torch.float64].std()
    error = noise[torch.float32][big] / noise[torch.float64][big] - 1.0
    assert float(error.abs().max()) < 0.008
    assert 1e-4 < float(error.square().mean().sqrt()) < 2e-3
    assert abs(float(error.mean())) < 1e-3


def test_a_cpu_without_products_in_bfloat16_gives_the_same_noise(monkeypatch):
    layer = fill(nn.Conv2d(16, 24, 3, padding=1)).requires_grad_(False)
    x = torch.randn(4, 16, 6, 6, generator=torch.Generator().manual_seed(9))
    crossbar = Crossbar(
        "sonos-agrawal2022",
        rows=64,
        dac=DAC(bits=8, kind="sign-magnitude", full_scale=3.0),
        adc=ADC(bits=16, range=(-60, 60)),
    )
    outputs = []
    for has in (True, False):
        monkeypatch.setattr(read_noise, "HAS_BFLOAT16", has)
        outputs.append(program(layer, crossbar)(x))
    noise = (outputs[0] - program(layer, crossbar.replace(read_noise=False))(x)).std()
    error = (outputs[0] - outputs[1]).abs()
    assert float(error.max()) < 0.02 * noise  # the last of 8 bits, where sums were ordered otherwise
    assert float(error.mean()) < 0.001 * noise


def test_only_float32_on_a_cpu_is_rounded():
    values = torch.rand(100) + 0.5
    rounded = to_variance_type(values)
    assert float((rounded.float() / values - 1.0).abs().max()) <= 2.0**-8
    assert to_variance_type(values.double()).dtype is torch.float64
