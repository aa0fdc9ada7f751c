"""Noise at an array's outputs: its distribution against numbers drawn by hand, its lifetime, before the ADC."""

import numpy as np
import pytest
import torch
from scipy import stats
from support.for_each import for_each
from support.models import fill, images, small_model
from torch import Tensor, nn

from aimc_robust import ADC, DAC, BitSliced, Crossbar, Deployment, calibrate, program

READS, STD, FULL_SCALE = 4000, 0.3, 2.0
ALPHA = 1e-4  # of each p-value; there are 24 in all
UNIT = DAC(kind="ideal", full_scale=FULL_SCALE)


def layer() -> nn.Linear:
    return fill(nn.Linear(9, 3)).double().requires_grad_(False)


def noise_of(crossbar: Crossbar, x: Tensor) -> np.ndarray:
    """(reads, outputs) of what a read adds to the same chip's without noise."""
    quiet = program(layer(), crossbar.replace(output_noise=0.0, read_noise=False))(x)
    return (program(layer(), crossbar)(x.expand(READS, -1)) - quiet).numpy()


def p_values(noise: np.ndarray, std: np.ndarray) -> list[float]:
    return [float(stats.kstest(column / s, "norm").pvalue) for column, s in zip(noise.T, std, strict=True)]


SLICED = BitSliced(weight_bits=7, slices=2)  # digits of 3 bits with weights 1 and 8 of 63
CASES = {
    # Options, and the standard deviation of an output in units of its weight limit, full scale and output noise.
    "whole": ({}, 1.0),
    "window": ({"window": (0.2, 1.0)}, 1.0 / 0.8),
    "three arrays": ({"rows": 4}, 3.0**0.5),
    "two slices of weights": ({"mapping": SLICED}, (1.0 + 64.0) ** 0.5 * 7.0 / 63.0),
    "two arrays of columns": ({"columns": 2}, 1.0),
    "columns": ({"scaling": "column"}, 1.0),
}


@for_each("name", CASES)
def test_each_array_adds_a_gaussian_number_to_each_output(name):
    options, factor = CASES[name]
    crossbar, x = Crossbar("ideal", dac=UNIT, output_noise=STD, **options), torch.ones(9, dtype=torch.float64)
    noise, largest = noise_of(crossbar, x), layer().weight.abs().amax(dim=1).numpy()
    std = factor * STD * FULL_SCALE * (largest if name == "columns" else np.full(3, largest.max()))
    assert min(p_values(noise, std)) > ALPHA
    assert min(p_values(noise, 1.2 * std)) < ALPHA  # control
    correlation = np.corrcoef(noise.T)[np.triu_indices(3, 1)]
    assert np.abs(correlation).max() < 4.5 / READS**0.5


def test_with_read_noise_one_number_has_both_variances():
    x = torch.linspace(0.5, 2.0, 9, dtype=torch.float64)
    alone, both = Crossbar("sonos-agrawal2022"), Crossbar("sonos-agrawal2022", dac=UNIT, output_noise=STD)
    limit = float(layer().weight.abs().max())
    expected = np.sqrt(noise_of(alone, x).var(axis=0) + (STD * FULL_SCALE * limit) ** 2)
    np.testing.assert_allclose(noise_of(both, x).std(axis=0), expected, rtol=4.5 / np.sqrt(READS))
    assert noise_of(alone, x).std(axis=0).max() < 0.9 * expected.min()  # control: it adds


def test_every_input_slice_is_a_read():
    # Slice k = 0, 1, 2 of one bit has the weight 2^k in units of a step of full scale / 7.
    dac = DAC(bits=3, kind="unsigned", full_scale=FULL_SCALE, slice_bits=1)
    noise = noise_of(Crossbar("ideal", dac=dac, output_noise=STD), torch.ones(9, dtype=torch.float64))
    expected = STD * FULL_SCALE * float(layer().weight.abs().max()) * np.sqrt(1 + 4 + 16) / 7
    assert min(p_values(noise, np.full(3, expected))) > ALPHA


def test_it_is_drawn_at_every_read_and_again_from_the_start_by_each_program():
    crossbar, x = Crossbar("rram-milo2021", dac=UNIT, output_noise=STD), images(4)
    with torch.no_grad():
        analog, again, other = (program(small_model(), crossbar, chip=chip) for chip in (2, 2, 3))
        first, second = analog(x), analog(x)
        assert not torch.equal(first, second)
        assert torch.equal(again(x), first)
        assert torch.equal(again(x), second)
        quiet = [program(small_model(), crossbar.replace(output_noise=0.0), chip=chip)(x) for chip in (2, 3)]
    assert not torch.equal(other(x) - quiet[1], first - quiet[0])


@for_each("crossbar", [Crossbar("rram-milo2021", rows=7), Crossbar("pcm-nandakumar2019")])
def test_the_noise_of_an_image_does_not_depend_on_its_batch(crossbar):
    noisy, x = crossbar.replace(dac=UNIT, output_noise=STD), images(7)
    with torch.no_grad():
        whole = program(small_model(), noisy)(x)
        analog = program(small_model(), noisy)
        parts = torch.cat([analog(part) for part in x.split(3)])
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-5)


def test_the_adc_sees_it():
    # A current of 4.5 at the threshold of a 1-bit ADC: noise alone decides, half of the times.
    model = nn.Linear(9, 2, bias=False).requires_grad_(False)
    nn.init.constant_(model.weight, 0.5)
    model.weight[0, 0] = 1.0
    crossbar = Crossbar("ideal", dac=DAC(kind="ideal", full_scale=1.0), adc=ADC(bits=1, range=(3.5, 5.5)))
    y = program(model, crossbar.replace(output_noise=0.01))(torch.ones(1000, 9))[:, 1]
    assert torch.unique(y).tolist() == [3.5, 5.5]
    assert abs(float(y.mean()) - 4.5) < 4.5 / 1000**0.5


@for_each("model", [nn.LSTM(5, 4, batch_first=True), nn.MultiheadAttention(4, 2, batch_first=True)])
def test_recurrent_and_attention_layers_have_it_too(model):
    is_lstm = isinstance(model, nn.LSTM)
    x = torch.randn(3, 6, 5 if is_lstm else 4)
    inputs = (x,) if is_lstm else (x, x, x)
    noisy, quiet = (program(model, Crossbar("ideal", dac=UNIT, output_noise=std)) for std in (0.1, 0.0))
    assert (noisy(*inputs)[0] - quiet(*inputs)[0]).abs().min() > 0


def test_calibration_leaves_noise_and_errors_out_and_finds_the_unit_of_noise():
    quiet = Crossbar("rram-milo2021", dac=DAC(bits=6), adc=ADC(bits=6))
    errors = {"gain_error": 0.1, "offset_error": 0.1, "inl": 0.1, "errors_per": "array"}
    noisy = quiet.replace(dac=DAC(bits=6, noise=0.1), adc=ADC(bits=6, **errors), output_noise=0.5)
    ranges = calibrate(small_model(), quiet, [images(20)])
    assert calibrate(small_model(), noisy, [images(20)]) == ranges
    program(small_model(), noisy, deployment=Deployment(ranges=ranges))  # they fit, with and without errors
    alone = Crossbar("rram-milo2021", output_noise=0.1)
    assert alone.periphery.calibrated == ["full_scale of the DAC"]
    with pytest.raises(ValueError, match="full_scale of the DAC"):
        program(small_model(), alone)(images(1))
    found = calibrate(small_model(), alone, [images(20)])
    program(small_model(), alone, deployment=Deployment(ranges=found))(images(1))


def test_a_bound_of_outputs_clips_every_array_without_rounding():
    model, x = layer(), torch.linspace(-2.0, 2.0, 9, dtype=torch.float64).expand(2, -1) * torch.tensor([[1.0], [0.3]])
    limit, bound = float(model.weight.abs().max()), 0.4
    y = program(model, Crossbar("ideal", rows=5, dac=UNIT, adc=ADC(bits=0, range=(-bound, bound))))(x)
    parts = [(x[:, rows] @ model.weight[:, rows].T) / limit / FULL_SCALE for rows in (slice(0, 4), slice(4, 9))]
    clipped = sum(part.clamp(-bound, bound) for part in parts) * limit * FULL_SCALE + model.bias
    torch.testing.assert_close(y, clipped, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(clipped, model(x))  # control: it clips
