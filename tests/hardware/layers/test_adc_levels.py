"""Without gradients products come out in the levels of the ADC; with gradients, currents are converted. Both agree."""

import pytest
import torch
from torch import nn

from aimc_robust import ADC, DAC, BitSliced, Crossbar, program
from aimc_robust.errors import InputError

LAYERS = {
    "linear": (nn.Linear(30, 7), (5, 30)),
    "convolution": (nn.Conv2d(4, 6, 3, padding=1, groups=2), (3, 4, 5, 5)),
    "transposed": (nn.ConvTranspose2d(4, 6, 3, stride=2), (3, 4, 4, 4)),
}
ADCS = {
    "uniform": ADC(bits=6, range=(-1.3417, 2.1713)),
    "symmetric": ADC(bits=6, range=(-2.1713, 2.1713)),
    "from zero": ADC(bits=6, range=(0.0, 2.1713)),
    "sign-magnitude": ADC(bits=6, kind="sign-magnitude", range=(-2.1713, 2.1713)),
    "worst-case": ADC(bits=8, range="worst-case"),
}


@pytest.mark.parametrize("bias_rows", [0, 2])
@pytest.mark.parametrize("mapping", ["one-sided", "offset", BitSliced(weight_bits=8, slices=2)], ids=str)
@pytest.mark.parametrize("adc", ADCS)
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("device", ["sonos-agrawal2022", "rram-milo2021"])  # with and without read noise of its own
def test_both_ways_give_the_same(device, name, adc, mapping, bias_rows):
    layer, shape = LAYERS[name]
    crossbar = Crossbar(
        device,
        mapping=mapping,
        bias_rows=bias_rows,
        rows=11,
        dac=DAC(bits=8, kind="unsigned", full_scale=1.7),
        adc=ADCS[adc],
        output_noise=0.01,
    )
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def output(*, gradient, chip=0):
        on_chip = program(layer.double(), crossbar, chip=chip)  # anew, so that read noise is the same
        with torch.set_grad_enabled(gradient):
            return on_chip(x.clone().requires_grad_(gradient)).detach()

    expected = output(gradient=True)
    assert torch.allclose(output(gradient=False), expected, rtol=0.0, atol=1e-9)
    assert not torch.allclose(output(gradient=False, chip=1), expected, rtol=0.0, atol=1e-9)


@pytest.mark.parametrize("end", [1e-36, 1e-30, 1e30])
def test_ranges_beyond_float32_clip_or_round_to_zero(end):
    adc = ADC(bits=8, kind="sign-magnitude", range=(-end, end))
    crossbar = Crossbar("ideal", dac=DAC(kind="ideal", full_scale=1.0), adc=adc)
    layer = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, -0.5], [0.25, 0.5]]))
    on_chip = program(layer, crossbar)
    with torch.no_grad():
        found = on_chip(100.0 * torch.tensor([[1.0, 1.0], [1.0, 2.0], [-3.0, 1.0]]))
    signs = torch.tensor([[1.0, 1.0], [0.0, 1.0], [-1.0, -1.0]])
    expected = signs * end if end < 1 else torch.zeros(3, 2)
    assert torch.allclose(found, expected, rtol=1e-6, atol=0.0)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("gradient", [False, True])
def test_no_images_give_no_outputs(name, gradient):
    layer, shape = LAYERS[name]
    crossbar = Crossbar(
        "sonos-agrawal2022", rows=11, dac=DAC(bits=8, full_scale=1.0, kind="unsigned"), output_noise=0.01
    )
    x = torch.zeros(0, *shape[1:], dtype=torch.float64, requires_grad=gradient)
    with torch.set_grad_enabled(gradient):
        assert program(layer.double(), crossbar)(x).shape == layer(x).shape


@pytest.mark.parametrize("adc", ["uniform", "from zero"])
def test_forward_mode_differentiation_is_refused(adc):
    on_chip = program(
        nn.Linear(4, 3), Crossbar("ideal", dac=DAC(bits=8, kind="unsigned", full_scale=1.0), adc=ADCS[adc])
    )
    x = torch.rand(2, 4)
    with pytest.raises(InputError, match="forward-mode differentiation"):
        torch.func.jvp(on_chip, (x,), (torch.ones_like(x),))
    assert on_chip(x).shape == (2, 3)
