"""Convolutions on a GPU are computed in float32 where the package measures, whatever torch is set to."""

import pytest
import torch
from torch import nn
from torch.backends import cudnn

from aimc_robust import ADC, DAC, Crossbar, Deployment, calibrate, program
from aimc_robust.float32_convolutions import float32_convolutions

NEWER = [cudnn.conv, cudnn.rnn] if hasattr(cudnn, "conv") else []


def settings():
    try:
        allowed = cudnn.allow_tf32
    except RuntimeError:
        allowed = "not to be read"
    return [allowed, *(setting.fp32_precision for setting in NEWER)]


@pytest.fixture
def initialized(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    before = cudnn.allow_tf32
    yield
    cudnn.allow_tf32 = before


FLOAT32 = [False, *["ieee" for _ in NEWER]]


@pytest.mark.parametrize("allowed", [True, False])
def test_tf32_is_off_within_and_as_before_behind_it(allowed, initialized):
    cudnn.allow_tf32 = allowed
    before = settings()
    with float32_convolutions():
        assert settings() == FLOAT32
        with float32_convolutions():
            assert settings() == FLOAT32
        assert settings() == FLOAT32
        with cudnn.flags(enabled=False, allow_tf32=False):  # reads what was set, and sets it again
            pass
        assert cudnn.allow_tf32 is False
    assert settings() == before


def test_it_is_as_before_behind_an_error(initialized):
    before = settings()
    with pytest.raises(ValueError, match="own"), float32_convolutions():
        raise ValueError("own")
    assert settings() == before


@pytest.mark.skipif(not NEWER, reason="torch 2.9 has these settings")
def test_newer_settings_that_differ_from_the_old_one_stay(initialized):
    cudnn.conv.fp32_precision = "ieee"
    cudnn.rnn.fp32_precision = "tf32"
    with float32_convolutions():
        assert cudnn.conv.fp32_precision == "ieee"
    assert [setting.fp32_precision for setting in NEWER] == ["ieee", "tf32"]
    cudnn.conv.fp32_precision = "tf32"


def test_without_a_gpu_nothing_is_set():
    if torch.cuda.is_initialized():
        pytest.skip("a GPU is in use")
    before = settings()
    with float32_convolutions():
        assert settings() == before


@pytest.mark.gpu
def test_arrays_on_a_gpu_compute_in_float32_while_torch_allows_tf32(accelerator):
    if accelerator.type != "cuda":
        pytest.skip("the simulated device has no TF32")
    generator = torch.Generator().manual_seed(0)
    images, plain = torch.randn(8, 64, 12, 12, generator=generator).to(accelerator), nn.Conv2d(64, 64, 3)
    model, crossbar = nn.Sequential(plain).to(accelerator), Crossbar("rram-milo2021", dac=DAC(bits=8), adc=ADC(bits=8))
    ranges = calibrate(model, crossbar, [images])
    on_chip = program(model, crossbar, deployment=Deployment(ranges=ranges))
    with torch.no_grad():
        expected, in_float32 = on_chip(images), plain(images)  # under the fixture's settings
        cudnn.allow_tf32 = True
        try:
            found, in_tf32 = on_chip(images), plain(images)
        finally:
            cudnn.allow_tf32 = False
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert float((in_tf32 - in_float32).abs().max()) > 1e-4  # the control: torch's own layer is less precise
