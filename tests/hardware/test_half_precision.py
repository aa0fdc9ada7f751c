"""Half-precision models in both paths: their own dtype comes out, close to what float32 gives; and on a GPU."""

import copy
import warnings

import pytest
import torch
from support.models import MILO, Mixed, fill, images, small_model

from aimc_robust import ADC, DAC, BitSliced, Crossbar, Deployment, calibrate, program, recalibrate_batchnorm

# Fine ones: where an input of a layer is rounded to half precision, a coarse code would flip whole.
CONVERTERS = {"dac": DAC(bits=14, kind="sign-magnitude", full_scale=4.0), "adc": ADC(bits=16, range=(-9.0, 8.9))}
CROSSBARS = {
    "weights": MILO,
    "arrays": Crossbar("rram-milo2021", **CONVERTERS),
    "bit-sliced arrays": Crossbar(
        "rram-milo2021", mapping=BitSliced(weight_bits=8, slices=2), bias_rows=1, **CONVERTERS
    ),
}
HALVES = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)


@HALVES
@pytest.mark.parametrize("name", CROSSBARS)
def test_half_precision_gives_its_own_dtype_close_to_float32(name, dtype):
    model = fill(Mixed()).eval()
    half = copy.deepcopy(model).to(dtype)
    model.load_state_dict({key: value.float() for key, value in half.state_dict().items()})  # rounded alike
    x = images(4).to(dtype)
    with torch.no_grad():
        want = program(model, CROSSBARS[name])(x.float())
        got = program(half, CROSSBARS[name])(x)
        digital = model(x.float())
    assert got.dtype == dtype
    error = float((got.float() - want).abs().max() / want.abs().max())
    assert error < 10 * torch.finfo(dtype).eps  # a handful of roundings
    assert float((want - digital).abs().max() / want.abs().max()) > 0.02


@HALVES
def test_half_precision_is_calibrated_and_reads_with_noise(dtype):
    model = fill(Mixed()).eval().to(dtype)
    crossbar = Crossbar("sonos-agrawal2022", dac=DAC(bits=8), adc=ADC(bits=8))
    ranges = calibrate(model, crossbar, [images(4).to(dtype)])
    analog = program(model, crossbar, deployment=Deployment(ranges=ranges))
    first, second = analog(images(4).to(dtype)), analog(images(4).to(dtype))
    assert first.dtype == dtype
    assert torch.isfinite(first).all()
    assert not torch.equal(first, second)


@HALVES
@pytest.mark.parametrize("name", CROSSBARS)
def test_autocast_rounds_what_is_digital_but_not_inside_the_arrays(name, dtype):
    model = fill(Mixed()).eval()
    analog = program(model, CROSSBARS[name])
    with torch.no_grad():
        want = analog(images(4))
        with torch.autocast("cpu", dtype=dtype):
            got = analog(images(4))
    assert float((got.float() - want).abs().max() / want.abs().max()) < 10 * torch.finfo(dtype).eps


@pytest.mark.gpu
@pytest.mark.parametrize("name", CROSSBARS)
def test_on_a_gpu_a_model_meets_the_same_chip(name, accelerator):
    model = fill(Mixed()).eval().double()
    with torch.no_grad():
        want = program(model, CROSSBARS[name])(images(4).double())
        on_gpu = program(copy.deepcopy(model).to(accelerator), CROSSBARS[name])
        got = on_gpu(images(4).double().to(accelerator))
        moved = program(model, CROSSBARS[name]).to(accelerator)(images(4).double().to(accelerator))
    assert got.device == accelerator
    # A sum on a rounding threshold may fall on the other side: one code in few places.
    for values in (got, moved):
        assert float((values.cpu() - want).abs().median()) < 1e-9
        assert float((values.cpu() - want).abs().max()) < 0.05


@pytest.mark.gpu
def test_on_a_gpu_calibration_read_noise_and_recalibration_run(accelerator):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model, x = small_model().to(accelerator), images(16).to(accelerator)
        crossbar = Crossbar("sonos-agrawal2022", dac=DAC(bits=8), adc=ADC(bits=8))
        deployment = Deployment(ranges=calibrate(model, crossbar, [x]))
        analog = recalibrate_batchnorm(program(model, crossbar, deployment=deployment), [x])
        first, second = analog(x), analog(x)
        assert not torch.equal(first, second)
        again = recalibrate_batchnorm(program(model, crossbar, deployment=deployment), [x])
        torch.testing.assert_close(again(x), first, rtol=1e-4, atol=1e-4)
