"""What layers in arrays return has torch's layout in memory, so that models may take views of it."""

import pytest
import torch
from torch import nn

from aimc_robust import ADC, DAC, Crossbar, program
from aimc_robust.hardware.layers import array_layer

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


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("chunk", [1, 2**20])
@pytest.mark.parametrize("size", [8, 9])  # positions of a small map, and one that is not
def test_chunks_and_layouts_leave_the_numbers(monkeypatch, size, chunk, memory_format):
    monkeypatch.setattr(array_layer, "VALUES_PER_CHUNK", chunk)
    layer = nn.Conv2d(3, 4, 3, padding=1).double()
    x = torch.randn(3, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    inputs, before = x.contiguous(memory_format=memory_format), x.clone()
    with torch.no_grad():
        result = program(layer, Crossbar("ideal", dac=DAC(kind="ideal"), rows=8))(inputs)
    assert result.is_contiguous(memory_format=memory_format)
    torch.testing.assert_close(result, layer(x))
    assert torch.equal(inputs, before)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_input_of_a_converter_is_not_modified(memory_format):
    crossbar = Crossbar("ideal", dac=DAC(bits=4, kind="unsigned", full_scale=1.0), adc=ADC(bits=4, range="worst-case"))
    x = torch.randn(2, 3, 16, 16).to(memory_format=memory_format)
    before = x.clone()
    program(nn.Conv2d(3, 4, 3, padding=1), crossbar, strict=False)(x)
    assert torch.equal(x, before)


CHANGES = {"turned": lambda x: x.transpose(0, 2), "every other": lambda x: x[::2], "whole": lambda x: x}


@pytest.mark.parametrize("chunk", [1, 2**20])
@pytest.mark.parametrize("layer", [nn.Linear(6, 5), nn.Conv2d(3, 4, 3)], ids=["linear", "convolution"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_outputs_lie_in_memory_as_those_of_torch(monkeypatch, layer, chunk, change, memory_format):
    monkeypatch.setattr(array_layer, "VALUES_PER_CHUNK", chunk)
    x = change(torch.randn(5, 3, 5, 6))
    x = x if memory_format == torch.contiguous_format else x.contiguous(memory_format=memory_format)
    with torch.no_grad():
        result, expected = program(layer, Crossbar("ideal", dac=DAC(kind="ideal"), rows=8))(x), layer(x)
    torch.testing.assert_close(result, expected)
    assert result.stride() == expected.stride()
