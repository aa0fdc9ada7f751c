"""Programming one weight matrix: the size of its error, what is exact, and what is refused."""

import math
import re
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import Tensor, nn

from aimc_robust import Crossbar, load_card, program
from aimc_robust.errors import InputError

MAPPINGS = ("one-sided", "two-sided", "offset")
N = 200_000

# Standard deviation of the state and window, as in CrossSim 3.2.0.
MILO = (lambda g: 4.782321 - 0.009107 * g, 50.0, 225.0)
WAN = (lambda g: 1.536e-4 * g**3 - 1.167e-2 * g**2 + 0.2374 * g + 1.053, 1.0, 39.0)
PCM = (lambda g: -0.00178767 * g**2 + 0.07585724 * g + 0.28638599, 0.25, 25.0)
SONOS = (lambda i: 19.88665 * (1.0 - math.exp(-i / 176.3115)), 0.0, 1600.0)


def error_moments(state: float, std: float) -> tuple[float, float]:
    """Mean and mean square of max(0, state + std xi) - state, xi standard normal: states below 0 are clipped."""
    if std == 0.0:
        return 0.0, 0.0
    a = state / std
    mean = state * stats.norm.cdf(a) + std * stats.norm.pdf(a)
    square = (state**2 + std**2) * stats.norm.cdf(a) + state * std * stats.norm.pdf(a)
    return mean - state, square - 2.0 * state * mean + state**2


def closed_form_rmse(device: tuple[Callable[[float], float], float, float], mapping: str) -> float:
    """RMSE of (W_prog - W) / max|W| for weights uniform in [-max, max], so u = W / max uniform in [-1, 1].

    With r = high - low the weight's error is, in units of max|W|,
    one-sided: (e(low + |u| r) - e(low)) / r, two-sided: (e(low + r (1+u)/2) - e(low + r (1-u)/2)) / r,
    offset: 2 e(low + r (1+u)/2) / r, with e the error of one device. Devices are independent, so the mean square of
    a difference is the sum of the mean squares less twice the product of the means; t = |u| or (1+u)/2 is uniform
    in [0, 1].
    """
    std, low, high = device

    def mean_square(t: float) -> float:
        mean, square = error_moments(low + t * (high - low), std(low + t * (high - low)))
        if mapping == "offset":
            return 4.0 * square
        other = low if mapping == "one-sided" else high - t * (high - low)
        other_mean, other_square = error_moments(other, std(other))
        return square + other_square - 2.0 * mean * other_mean

    return math.sqrt(integrate.quad(mean_square, 0.0, 1.0, epsabs=1e-10)[0]) / (high - low)


def simulated_rmse(crossbar: Crossbar) -> tuple[float, float]:
    """RMSE over N uniform weights, and its standard error."""
    weight = torch.rand(N, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * 2.0 - 1.0
    programmed = crossbar.perturb("layer", weight, torch.Generator().manual_seed(4))
    squares = ((programmed - weight) / weight.abs().max()).square()
    rmse = float(squares.mean().sqrt())
    return rmse, float(squares.std()) / math.sqrt(N) / (2.0 * rmse)


# device, its numbers, mapping, the figure found with CrossSim 3.2.0 (five digits: its closed form)
RMSE_CASES = [
    ("rram-milo2021", MILO, "one-sided", "0.03202"),
    ("rram-milo2021", MILO, "two-sided", "0.0288"),
    ("rram-milo2021", MILO, "offset", "0.0407"),
    ("sonos-agrawal2022", SONOS, "one-sided", "0.01136"),
    ("pcm-joshi2020", PCM, "one-sided", "0.0377"),
    ("rram-wan2022", WAN, "one-sided", "0.0616"),
]


@pytest.mark.parametrize(("name", "device", "mapping", "figure"), RMSE_CASES)
def test_the_error_of_uniform_weights_is_the_closed_form(name, device, mapping, figure):
    expected = closed_form_rmse(device, mapping)
    assert f"{expected:.{len(figure) - 2}f}" == figure
    rmse, standard_error = simulated_rmse(Crossbar(name, mapping=mapping))
    assert abs(rmse - expected) < 4.0 * standard_error


def test_the_error_check_fails_for_another_mapping_and_another_device():
    rmse, standard_error = simulated_rmse(Crossbar("rram-milo2021", mapping="two-sided"))
    assert abs(rmse - closed_form_rmse(MILO, "one-sided")) > 20.0 * standard_error
    assert abs(rmse - closed_form_rmse(PCM, "two-sided")) > 20.0 * standard_error


def test_another_window_programs_within_it_and_has_its_own_error():
    rmse, standard_error = simulated_rmse(Crossbar("rram-milo2021", window=(100, 200)))
    assert abs(rmse - closed_form_rmse((MILO[0], 100.0, 200.0), "one-sided")) < 4.0 * standard_error


def matrix(dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(20, 30, generator=torch.Generator().manual_seed(5), dtype=torch.float64).mul(0.1).to(dtype)


def programmed(crossbar: Crossbar, weight: Tensor) -> Tensor:
    return crossbar.perturb("layer", weight, torch.Generator().manual_seed(6))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("window", [None, (0.25, 0.75)])
@pytest.mark.parametrize("mapping", MAPPINGS)
def test_an_ideal_device_returns_the_weights(mapping, window, dtype):
    weight = matrix(dtype)
    error = programmed(Crossbar("ideal", mapping=mapping, window=window), weight) - weight
    assert float(error.abs().max() / weight.abs().max()) < 8 * torch.finfo(dtype).eps


@pytest.mark.parametrize("mapping", MAPPINGS)
@pytest.mark.parametrize("percentile", [1.0, 0.9])
def test_an_all_zero_layer_stays_zero(mapping, percentile):
    crossbar = Crossbar("rram-milo2021", mapping=mapping, weight_percentile=percentile)
    assert torch.equal(programmed(crossbar, torch.zeros(3, 4)), torch.zeros(3, 4))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_refused(bad):
    weight = matrix()
    weight[1, 2] = bad
    with pytest.raises(InputError, match="finite"):
        programmed(Crossbar("ideal"), weight)


@pytest.mark.parametrize("change", [{}, {"scaling": "column"}, {"weight_percentile": 0.9}, {"rows": 2}])
@pytest.mark.parametrize("shape", [(3, 0), (0, 4)])
def test_a_layer_without_weights_is_refused_by_name(shape, change):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch does not initialize such a layer
        model = nn.ModuleDict({"first": nn.Linear(4, 3), "empty": nn.Linear(*reversed(shape))})
    for device in ("rram-wan2022", "pcm-nandakumar2019"):  # with and without read noise
        crossbar = Crossbar(device, **change)
        with pytest.raises(InputError, match=rf"^the layer 'empty' has no weights, .*{re.escape(str(shape))}.*digital"):
            program(model, crossbar)
        program(model, crossbar, layers={"empty": "digital"})


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_programming_leaves_its_argument_alone(mapping):
    weight = matrix()
    assert not torch.equal(programmed(Crossbar("rram-milo2021", mapping=mapping), weight), weight)
    assert torch.equal(weight, matrix())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("mapping", MAPPINGS)
def test_half_precision_weights_are_computed_in_float32_and_rounded_once(dtype, mapping):
    crossbar, weight = Crossbar("rram-milo2021", mapping=mapping, cell_bits=4), matrix(dtype)
    half = programmed(crossbar, weight)
    assert half.dtype == dtype
    assert torch.equal(half, programmed(crossbar, weight.float()).to(dtype))


@pytest.mark.parametrize("percentile", [0.999, 0.9, 0.5])
def test_weights_beyond_the_percentile_are_clipped(percentile):
    weight = matrix(torch.float64)
    limit = max(abs(np.quantile(weight.numpy(), q)) for q in (percentile, 1.0 - percentile))
    assert float(weight.abs().max()) > limit
    clipped = programmed(Crossbar("ideal", weight_percentile=percentile), weight)
    torch.testing.assert_close(clipped, weight.clamp(-limit, limit), rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("mapping", "bits", "levels"),
    [
        *(("one-sided", bits, 2 * 2**bits - 1) for bits in (1, 2, 4)),
        *(("two-sided", bits, 2**bits) for bits in (1, 2, 4)),
        *(("offset", bits, 2**bits - 1) for bits in (2, 4)),
    ],
)
def test_cell_bits_leave_that_many_equally_spaced_weights(mapping, bits, levels):
    weight = torch.rand(5000, generator=torch.Generator().manual_seed(7), dtype=torch.float64) * 2.0 - 1.0
    weight /= weight.abs().max()
    rounded = programmed(Crossbar("ideal", mapping=mapping, cell_bits=bits, window=(0.2, 1.0)), weight)
    values = torch.tensor(sorted({round(float(value), 9) for value in rounded}), dtype=torch.float64)
    torch.testing.assert_close(values, torch.linspace(-1.0, 1.0, levels, dtype=torch.float64), atol=1e-8, rtol=0)
    assert float((rounded - weight).abs().max()) <= 0.5 * float(values[1] - values[0]) + 1e-8  # the nearest of them


def test_a_card_that_clips_to_the_window_never_leaves_it():
    milo = load_card("rram-milo2021")
    clipped = milo.model_copy(update={"programming": milo.programming.model_copy(update={"clip": "window"})})
    weight = torch.ones(1000)
    assert float(programmed(Crossbar(clipped), weight).max()) <= 1.0 + 1e-6
    assert float(programmed(Crossbar(milo), weight).max()) > 1.01
