"""Gaussian and Laplace noise have the spread, the mean and the shape that their docstrings promise."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats
from support.for_each import for_each
from torch import Tensor

from aimc_robust import Axes, Gaussian, Laplace, WeightNoise, perturbed
from aimc_robust.noise.scales import SCALES

SHAPES = {"linear": (6, 30), "conv1d": (5, 4, 5), "conv2d": (4, 3, 3, 3), "depthwise": (4, 1, 5, 5)}
DRAWS = 400
LIMIT = 5.0  # standard errors


def weights(shape: tuple[int, ...]) -> Tensor:
    """Filters of clearly different sizes, so that a scale taken over the wrong axis shows."""
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return weight * torch.logspace(-1, 1, shape[0], dtype=torch.float64).reshape(-1, *[1] * (len(shape) - 1))


def scale_of_each_filter(weight: Tensor, scale: str) -> np.ndarray:
    """The definitions again, filter by filter in numpy."""
    whole = weight.numpy()
    of_filter = {
        "filter_max": lambda w: max(abs(x) for x in w.flat),
        "filter_norm": lambda w: math.sqrt(sum(x * x for x in w.flat)),
        "layer_max": lambda w: max(abs(x) for x in whole.flat),
        "absolute": lambda w: 1.0,
    }[scale]
    return np.array([of_filter(w) for w in whole])


def samples(noise: WeightNoise, weight: Tensor) -> np.ndarray:
    """The noise alone, (filters, draws * weights per filter)."""
    generator = torch.Generator().manual_seed(2)
    drawn = [noise.perturb("layer", weight, generator) - weight for _ in range(DRAWS)]
    return torch.stack(drawn, dim=1).flatten(1).numpy()


def worst_std_error(noise: WeightNoise, weight: Tensor, expected_std: np.ndarray, kurtosis: float) -> float:
    """How far the worst filter's standard deviation is from the expected one, in standard errors.

    A sample standard deviation of n values has the relative standard error sqrt((kurtosis - 1) / (4 n)).
    """
    values = samples(noise, weight)
    relative = values.std(axis=1) / expected_std - 1.0
    return float(np.abs(relative).max() / math.sqrt((kurtosis - 1.0) / (4.0 * values.shape[1])))


CASES = {
    "gaussian": (lambda scale: Gaussian(0.1, scale), 0.1, 3.0),
    "laplace": (lambda scale: Laplace(0.1, scale), 0.1 * math.sqrt(2.0), 6.0),
    "laplace, matched std": (lambda scale: Laplace(0.1, scale, matched_std=True), 0.1, 6.0),
}


@for_each("shape", SHAPES.values())
@for_each("scale", SCALES)
@for_each("case", CASES)
def test_each_filter_has_the_promised_std(case, scale, shape):
    make, std, kurtosis = CASES[case]
    weight = weights(shape)
    assert worst_std_error(make(scale), weight, std * scale_of_each_filter(weight, scale), kurtosis) < LIMIT


@for_each(("right", "wrong"), list(itertools.permutations(SCALES, 2)))
def test_the_std_check_fails_for_the_wrong_scale(right, wrong):
    weight = weights(SHAPES["conv2d"])
    assert worst_std_error(Gaussian(0.1, wrong), weight, 0.1 * scale_of_each_filter(weight, right), 3.0) > 2 * LIMIT


def test_the_std_check_fails_for_laplace_taken_for_gaussian():
    weight = weights(SHAPES["linear"])
    expected = 0.1 * scale_of_each_filter(weight, "filter_max")
    assert worst_std_error(Laplace(0.1), weight, expected, 6.0) > 2 * LIMIT


@pytest.mark.parametrize("case", CASES)
def test_the_mean_is_zero(case):
    make, std, _ = CASES[case]
    values = samples(make("absolute"), weights(SHAPES["linear"]))
    assert abs(values.mean()) < LIMIT * std / math.sqrt(values.size)


DISTRIBUTIONS = {"gaussian": stats.norm(scale=0.1), "laplace": stats.laplace(scale=0.1)}
DISTRIBUTIONS["laplace, matched std"] = stats.laplace(scale=0.1 / math.sqrt(2.0))


@pytest.mark.parametrize("drawn", DISTRIBUTIONS)
@pytest.mark.parametrize("tested", DISTRIBUTIONS)
def test_the_shape_is_the_promised_one_and_no_other(drawn, tested):
    values = samples(CASES[drawn][0]("absolute"), weights(SHAPES["linear"])).ravel()
    p_value = stats.kstest(values, DISTRIBUTIONS[tested].cdf).pvalue
    assert p_value > 0.01 if drawn == tested else p_value < 1e-12


@pytest.mark.parametrize("scale", SCALES)
def test_a_sweep_over_strength_uses_common_random_numbers(scale):
    weight = weights(SHAPES["conv2d"])

    def unit(noise: WeightNoise, strength: float) -> Tensor:
        return (noise.perturb("layer", weight, torch.Generator().manual_seed(5)) - weight) / strength

    torch.testing.assert_close(unit(Gaussian(0.2, scale), 0.2), unit(Gaussian(0.1, scale), 0.1), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(unit(Laplace(0.2, scale), 0.2), unit(Laplace(0.1, scale), 0.1), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_every_precision_meets_the_same_draw(dtype):
    weight = weights(SHAPES["linear"]).to(dtype)
    noise = Gaussian(0.1, "absolute")
    noisy = noise.perturb("layer", weight, torch.Generator().manual_seed(5))
    exact = noise.perturb("layer", weight.double(), torch.Generator().manual_seed(5))
    assert noisy.dtype == dtype
    torch.testing.assert_close(noisy.double(), exact, rtol=2 * torch.finfo(dtype).eps, atol=torch.finfo(dtype).eps)


def test_a_subclass_that_draws_twice_has_two_draws():
    class Twice(Gaussian):
        def perturb(self, name, weight, generator):
            return super().perturb(name, super().perturb(name, weight, generator), generator)

    layer = torch.nn.Linear(300, 300, bias=False)
    before = layer.weight.detach().clone()
    with perturbed(layer, Twice(0.1, "absolute"), generator=Axes(0)):
        assert float((layer.weight - before).std()) == pytest.approx(0.1 * 2**0.5, rel=0.01)
