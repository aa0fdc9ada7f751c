"""What layers in arrays return has torch's layout in memory, so that models may take views of it."""

import pytest
import torch
from torch import nn

from aimc_robust import DAC, Crossbar, program

LAYERS = {
    "conv1d": (nn.Conv1d(3, 4, 3, padding=1), (2, 3, 9)),
    "conv2d": (nn.Conv2d(3, 4, 3, padding=1), (2, 3, 7, 6)),
    "conv2d circular": (nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"), (2, 3, 7, 6)),
    "conv3d": (nn.Conv3d(3, 4, 3), (2, 3, 5, 4, 3)),
    "transposed": (nn.ConvTranspose2d(3, 4, 3, stride=2), (2, 3, 4, 5)),
}


@pytest.mark.parametrize("with_gradient", [False, True])
@pytest.mark.parametrize("device", ["ideal", "pcm-nandakumar2019"])
@pytest.mark.parametrize("name", LAYERS)
def test_a_model_may_take_a_view_of_a_convolution_in_arrays(name, device, with_gradient):
    layer, shape = LAYERS[name]
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with torch.set_grad_enabled(with_gradient):
        analog = program(layer, Crossbar(device, dac=DAC(kind="ideal"), rows=8))
        assert analog(x).view(2, -1).shape == layer(x).view(2, -1).shape


def test_channels_last_stay_last():
    layer = nn.Conv2d(3, 4, 3, padding=1)
    x = torch.randn(2, 3, 7, 6).contiguous(memory_format=torch.channels_last)
    analog = program(layer, Crossbar("ideal", dac=DAC(kind="ideal")))
    assert analog(x).is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(analog(x), layer(x))
