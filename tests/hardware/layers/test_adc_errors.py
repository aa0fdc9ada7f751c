"""Errors of ADCs: the stated formula, one draw per chip and array or column, and the straight-through gradient."""

import copy

import numpy as np
import pytest
import torch
from scipy import stats
from support.for_each import for_each
from support.models import fill, images, small_model
from torch import Tensor, nn

from aimc_robust import ADC, DAC, BitSliced, Crossbar, program

FULL_SCALE, LOW, HIGH = 2.0, -1.5, 1.1
IDEAL_DAC = DAC(kind="ideal", full_scale=FULL_SCALE)
ERRORS = {"gain_error": 0.05, "offset_error": 0.03, "inl": 0.02}


def layer() -> nn.Linear:
    return fill(nn.Linear(6, 4)).double().requires_grad_(False)


def adc(**options: object) -> ADC:
    return ADC(**{"bits": 0, "range": (LOW, HIGH), **options})


def crossbar(converter: ADC, **options: object) -> Crossbar:
    return Crossbar("ideal", **{"dac": IDEAL_DAC, "adc": converter, **options})


def inputs(count: int = 40) -> Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def taken_for(currents: np.ndarray, numbers: np.ndarray, width: float = HIGH - LOW) -> np.ndarray:
    """(images, outputs), by the formula of `ADC`; numbers (4, outputs)."""
    gain, offset, bow, double = numbers * np.array([[0.05], [0.03], [0.02], [0.02]])
    u = np.clip((currents - LOW) / width, 0.0, 1.0)
    return (1 + gain) * currents + width * (offset + bow * np.sin(np.pi * u) + double * np.sin(2 * np.pi * u))


@for_each("bits", [0, 4])
@for_each("per", ["column", "array"])
def test_outputs_follow_the_formula_in_every_array(bits, per):
    model, x = layer(), inputs()
    analog = program(model, crossbar(adc(bits=bits, errors_per=per, **ERRORS), rows=4, columns=2))
    limit = float(model.weight.abs().max())
    total = np.zeros((len(x), 4))
    for tile, (start, stop) in enumerate(analog.tiles):
        currents = (x[:, start:stop] @ model.weight[:, start:stop].T / limit / FULL_SCALE).numpy()
        numbers = analog.adc_errors.numbers((0, tile)).numpy()
        clipped = np.clip(taken_for(currents, numbers), LOW, HIGH)
        steps = (HIGH - LOW) / (2**bits - 1) if bits else 0.0
        total += LOW + np.round((clipped - LOW) / steps) * steps if bits else clipped
        shared = np.abs(numbers[:, 0] - numbers[:, 1]).max() == 0
        assert shared == (per == "array")  # columns 0 and 1 are one array, 2 and 3 another
        assert np.abs(numbers[:, 1] - numbers[:, 2]).min() > 0
    expected = total * limit * FULL_SCALE + model.bias.numpy()
    np.testing.assert_allclose(analog(x).numpy(), expected, atol=1e-6)
    exact = program(model, crossbar(adc(bits=bits), rows=4, columns=2))(x).numpy()
    assert np.abs(exact - expected).max() > 0.02  # control


def test_groups_and_slices_of_weights_are_arrays_of_their_own():
    conv = fill(nn.Conv1d(4, 6, 2, groups=2))
    analog = program(conv, crossbar(adc(errors_per="array", **ERRORS), columns=2, mapping=BitSliced()))
    assert analog.array_of_outputs == [0, 0, 1, 2, 2, 3]
    first, second = (analog.adc_errors.numbers((bank, 0)) for bank in (0, 1))
    assert len(torch.unique(torch.cat([first, second]))) == 2 * 4 * 4
    assert analog(torch.randn(3, 4, 5)).isfinite().all()


def test_they_are_drawn_once_per_chip_and_frozen():
    converters = crossbar(adc(**ERRORS)).replace(device="pcm-nandakumar2019", read_noise=False)
    with torch.no_grad():
        analog, x = program(small_model(), converters, chip=1), images(6)
        first = analog(x)
        analog(images(9))
        assert torch.equal(analog(x), first)
        assert torch.equal(copy.deepcopy(analog)(x), first)
        torch.testing.assert_close(torch.cat([analog(part) for part in x.split(4)]), first, rtol=0, atol=1e-6)

    def numbers(**options: object) -> Tensor:
        return program(layer(), converters, **options).adc_errors.numbers((0, 0))

    assert torch.equal(numbers(chip=1), numbers(chip=1, time_s=86400.0))
    assert torch.equal(numbers(chip=1), numbers(chip=1, cycle=3))
    assert not torch.equal(numbers(chip=1), numbers(chip=2))
    assert not torch.equal(numbers(chip=1), numbers(chip=1, chip_seed=1))


@pytest.mark.slow
def test_the_spread_over_chips_is_the_stated_one():
    # A column current of 0.4 of full scale; gain alone, offset alone, linearity alone.
    model = nn.Linear(1, 4, bias=False).double().requires_grad_(False)
    model.weight[:] = torch.tensor([[1.0], [1.0], [1.0], [1.0]])
    x, found = torch.tensor([[0.4 * FULL_SCALE]], dtype=torch.float64), {}
    for name, std in ERRORS.items():
        converters = crossbar(adc(**{name: std}))
        values = torch.cat([program(model, converters, chip=chip)(x).flatten() for chip in range(300)])
        found[name] = (values / FULL_SCALE - 0.4).numpy()
    u = (0.4 - LOW) / (HIGH - LOW)
    bow = 0.02 * (HIGH - LOW) * np.hypot(np.sin(np.pi * u), np.sin(2 * np.pi * u))
    expected = {"gain_error": 0.05 * 0.4, "offset_error": 0.03 * (HIGH - LOW), "inl": bow}
    for name, std in expected.items():
        assert stats.kstest(found[name] / std, "norm").pvalue > 1e-3, name
        assert stats.kstest(found[name] / std * 1.3, "norm").pvalue < 1e-2, name  # control


def test_linearity_errors_are_0_at_both_ends_of_the_range():
    model = nn.Linear(1, 1, bias=False).double().requires_grad_(False)
    model.weight[:] = 1.0
    analog = program(model, crossbar(adc(inl=0.1)))
    ends = torch.tensor([[LOW], [HIGH], [LOW - 1.0], [HIGH + 1.0]], dtype=torch.float64) * FULL_SCALE
    torch.testing.assert_close(analog(ends), ends.clamp(LOW * FULL_SCALE, HIGH * FULL_SCALE))
    inside = torch.tensor([[0.0]], dtype=torch.float64)
    assert abs(float(analog(inside))) > 1e-3


def test_gradients_pass_through_gain_and_are_0_where_the_errors_push_a_current_out_of_the_range():
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(model.weight, 1.0)
    analog = program(model, crossbar(adc(bits=6, gain_error=0.05, offset_error=0.03)))
    gain, offset, *_ = analog.adc_errors.numbers((0, 0)).flatten().tolist()
    x = torch.tensor([[0.3], [1.1]], dtype=torch.float64).mul_(FULL_SCALE).requires_grad_()
    analog(x).sum().backward()
    is_inside = (1 + 0.05 * gain) * 1.1 + 0.03 * offset * (HIGH - LOW) < HIGH
    torch.testing.assert_close(
        x.grad.flatten(), (1 + 0.05 * gain) * torch.tensor([1.0, float(is_inside)], dtype=torch.float64)
    )


def test_with_input_slices_each_conversion_has_the_errors():
    dac = DAC(bits=3, kind="unsigned", full_scale=FULL_SCALE, slice_bits=1)
    for per_slice in (False, True):
        errors = {"offset_error": 0.03, "per_slice": per_slice}
        both = crossbar(adc(**errors), dac=dac), crossbar(adc(per_slice=per_slice), dac=dac)
        wrong, right = (program(layer(), c)(torch.zeros(2, 6, dtype=torch.float64)) for c in both)
        numbers = program(layer(), both[0]).adc_errors.numbers((0, 0))[1]
        weight = (1 + 2 + 4) / 7 if per_slice else 1.0
        unit = float(layer().weight.abs().max()) * FULL_SCALE * 0.03 * (HIGH - LOW)
        torch.testing.assert_close(wrong - right, (weight * unit * numbers).expand(2, -1), rtol=1e-5, atol=1e-7)
