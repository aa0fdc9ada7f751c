"""Convolutions on a GPU are computed in float32 where the package measures, whatever torch is set to."""

import pytest
import test_data_kinds as kinds
import torch
from torch import nn
from torch.backends import cudnn
from torch.nn.modules.module import register_module_forward_pre_hook

from aimc_robust import ADC, DAC, Crossbar, Deployment, calibrate, program, recalibrate_batchnorm
from aimc_robust.float32_convolutions import float32_convolutions
from aimc_robust.hardware.layers.array_layer import ArrayLayer

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


@pytest.fixture
def run_under(initialized):
    """The settings under which each module was run; without cuDNN, as when multiplies are counted, none matters."""
    found = []
    hook = register_module_forward_pre_hook(lambda *_: found.append(settings() if cudnn.enabled else FLOAT32))
    yield found
    hook.remove()


# What trains follows torch; the last two run a model by themselves.
OTHERS = {"train", "train, validation", "Method.backward", "recalibrate_batchnorm", "Deployment"}


@pytest.mark.parametrize("name", sorted(set(kinds.FUNCTIONS) - OTHERS))
def test_what_is_measured_is_run_in_float32(name, run_under):
    group, function = kinds.FUNCTIONS[name]
    pair = (kinds.INPUTS, kinds.LABELS)
    kinds.ranges()
    run_under.clear()
    function(pair if group == "whole" else [pair])
    assert run_under
    assert all(found == FLOAT32 for found in run_under)
    assert settings() != FLOAT32


def test_statistics_are_recalibrated_in_float32(run_under):
    on_chip = program(kinds.net(), Crossbar("rram-milo2021"))
    recalibrate_batchnorm(on_chip, [kinds.INPUTS])
    assert run_under
    assert all(found == FLOAT32 for found in run_under)


def test_arrays_are_run_in_float32(initialized, monkeypatch):
    seen, convert = [], ArrayLayer.convert_inputs
    monkeypatch.setattr(ArrayLayer, "convert_inputs", lambda self, x: (seen.append(settings()), convert(self, x))[1])
    crossbar = Crossbar("rram-milo2021", dac=DAC(bits=8, full_scale=1.0, kind="sign-magnitude"))
    program(kinds.net(), crossbar)(kinds.INPUTS)
    assert seen == [FLOAT32, FLOAT32]


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
