"""Sharpness of a quadratic loss, where both measures have a closed form."""

import itertools
import math

import numpy as np
import pytest
import torch
from support.quadratic import INPUTS, LOSS, OUTPUTS, SAMPLES, batchnorm_net, example, hessian
from torch import nn

from aimc_robust.analysis.sharpness import ascent_sharpness, average_sharpness, gradient_sharpness
from aimc_robust.data.joining import minibatches
from aimc_robust.errors import AimcError
from aimc_robust.noise.base import WeightNoise
from aimc_robust.noise.distributions import Gaussian
from aimc_robust.training.methods.ramp import Ramp
from aimc_robust.training.methods.rwp import RWP
from aimc_robust.training.methods.sam import SAM
from aimc_robust.training.methods.sgd import SGD


def gradient(model, batch):
    x, y = batch
    w = model.weight.detach()
    return (2.0 / (SAMPLES * OUTPUTS) * (x @ w.T - y).T @ x).numpy().ravel()


SCALES = {
    "absolute": lambda w: np.ones_like(w),
    "layer_max": lambda w: np.full_like(w, np.abs(w).max()),
    "filter_max": lambda w: np.repeat(np.abs(w).max(1, keepdims=True), INPUTS, axis=1),
}


@pytest.mark.slow
@pytest.mark.parametrize("scale", SCALES)
def test_average_sharpness_is_half_the_trace_of_hessian_times_covariance(scale):
    model, batch = example()
    sigma, draws = 0.3, 4000
    std = sigma * SCALES[scale](model.weight.detach().numpy()).ravel()
    h = hessian(batch[0])
    # A draw rises by g e + e'He / 2; for e ~ N(0, S) its variance is g'Sg + tr(HSHS) / 2.
    scaled = h * np.outer(std, std)
    g = gradient(model, batch) * std
    error = np.sqrt((g @ g + np.sum(scaled**2) / 2) / draws)
    expected = np.trace(scaled) / 2
    found = average_sharpness(model, LOSS, [batch], Gaussian(sigma, scale), draws=draws)
    assert found == pytest.approx(expected, abs=4 * error)
    assert found != pytest.approx(2 * expected, abs=4 * error)  # the factor 1/2 is resolved


@pytest.mark.parametrize("rho", [0.01, 0.5, 3.0])
def test_ascent_sharpness_is_the_rise_along_the_gradient(rho):
    model, batch = example()
    g, h = gradient(model, batch), hessian(batch[0])
    u = g / np.linalg.norm(g)
    expected = rho * np.linalg.norm(g) + rho**2 / 2 * u @ h @ u
    assert ascent_sharpness(model, LOSS, [batch], rho=rho) == pytest.approx(expected, rel=1e-9)


class Shift(WeightNoise):
    """The same perturbation at every draw: each batch then has one rise, known exactly."""

    def perturb(self, name, weight, generator):
        return weight + 0.5


def test_both_are_means_over_batches():
    model, (x, y) = example()
    halves = [(x[:6], y[:6]), (x[6:], y[6:])]
    for sharpness in (
        lambda batches: ascent_sharpness(model, LOSS, batches, rho=0.5),
        lambda batches: average_sharpness(model, LOSS, batches, Shift()),
    ):
        first, second = sharpness(halves[:1]), sharpness(halves[1:])
        assert first != pytest.approx(second)
        assert sharpness(halves) == sharpness(iter(halves)) == pytest.approx((first + second) / 2)


def test_average_sharpness_of_a_known_shift_is_its_rise():
    model, batch = example()
    shift = np.full(INPUTS * OUTPUTS, 0.5)
    expected = gradient(model, batch) @ shift + shift @ hessian(batch[0]) @ shift / 2
    assert average_sharpness(model, LOSS, [batch], Shift(), draws=3) == pytest.approx(expected)


def test_at_a_minimum_average_sharpness_grows_with_the_variance():
    model, (x, _) = example()
    at_minimum = [(x, model(x).detach())]
    rises = [average_sharpness(model, LOSS, at_minimum, Gaussian(sigma)) for sigma in (0.0, 0.1, 0.2, 0.4)]
    assert rises == pytest.approx([0.0, rises[1], 4 * rises[1], 16 * rises[1]])
    assert rises[1] > 0.0


def test_ascent_sharpness_grows_with_the_radius():
    model, batch = example()
    rises = [ascent_sharpness(model, LOSS, [batch], rho=rho) for rho in (0.0, 0.1, 0.2, 0.4)]
    assert rises[0] == 0.0
    assert all(larger > 2 * smaller for smaller, larger in itertools.pairwise(rises))


def test_the_ascent_is_over_all_parameters_in_scope():
    torch.manual_seed(0)
    model = nn.Linear(INPUTS, OUTPUTS, dtype=torch.float64)
    batch, rho = example()[1], 0.3

    def rise(parameters):
        gradients = torch.autograd.grad(LOSS(model(batch[0]), batch[1]), parameters)
        norm = math.sqrt(sum(float(g.square().sum()) for g in gradients))
        moved = {name: p.detach() for name, p in model.named_parameters()}
        for name, p in model.named_parameters():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                if parameter is p:
                    moved[name] = p.detach() + rho * gradient / norm
        before, after = (torch.func.functional_call(model, w, (batch[0],)) for w in ({}, moved))
        return (LOSS(after, batch[1]) - LOSS(before, batch[1])).item()

    weights, everything = rise([model.weight]), rise([model.weight, model.bias])
    assert everything > weights * 1.01
    assert ascent_sharpness(model, LOSS, [batch], rho=rho) == pytest.approx(weights, rel=1e-9)
    assert ascent_sharpness(model, LOSS, [batch], rho=rho, scope="all") == pytest.approx(everything, rel=1e-9)
    biased = average_sharpness(model, LOSS, [batch], Shift(), scope=lambda name, _: name == "bias", draws=1)
    assert biased == pytest.approx((LOSS(model(batch[0]) + 0.5, batch[1]) - LOSS(model(batch[0]), batch[1])).item())


MEASURES = {
    "average": lambda model, batches, m: average_sharpness(model, LOSS, batches, Gaussian(0.2), m=m),
    "ascent": lambda model, batches, m: ascent_sharpness(model, LOSS, batches, rho=0.5, m=m),
    "gradient": lambda model, batches, m: gradient_sharpness(model, LOSS, batches, RWP(sigma=0.2), m=m),
}


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_m_alone_decides_the_minibatches(measure):
    model, (x, y) = example()
    of_five = [(x[:5], y[:5]), (x[5:10], y[5:10])]  # two of the twelve are left out
    expected = measure(model, of_five, None)
    for size in (1, 3, 5, 12):
        batches = list(zip(x.split(size), y.split(size), strict=True))
        assert measure(model, batches, 5) == expected
    assert measure(model, (x, y), 5) == expected
    assert measure(model, (x, y), 4) != pytest.approx(expected)


@pytest.mark.parametrize("rho", [0.1, 0.5])
def test_the_gradient_sharpness_of_sam_is_ascent_sharpness(rho):
    model, (x, y) = example()
    halves = [(x[:6], y[:6]), (x[6:], y[6:])]
    found = gradient_sharpness(model, LOSS, halves, SAM(rho=rho))
    assert found == pytest.approx(ascent_sharpness(model, LOSS, halves, rho=rho), rel=1e-12)
    smaller = gradient_sharpness(model, LOSS, (x, y), SAM(rho=rho, m=4))  # three ascents of four samples
    assert smaller == pytest.approx(ascent_sharpness(model, LOSS, (x, y), rho=rho, m=4), rel=1e-12)
    assert smaller != pytest.approx(ascent_sharpness(model, LOSS, (x, y), rho=rho))


@pytest.mark.slow
def test_the_gradient_sharpness_of_rwp_is_average_sharpness():
    model, batch = example()
    sigma, repeats = 0.3, 2000
    std = sigma * SCALES["filter_max"](model.weight.detach().numpy()).ravel()
    h, g = hessian(batch[0]), gradient(model, batch) * std
    scaled = h * np.outer(std, std)
    error = np.sqrt((g @ g + np.sum(scaled**2) / 2) / repeats)
    found = gradient_sharpness(model, LOSS, [batch] * repeats, RWP(sigma=sigma))
    assert found == pytest.approx(np.trace(scaled) / 2, abs=4 * error)
    assert found != pytest.approx(np.trace(scaled), abs=4 * error)


def test_the_gradient_sharpness_of_an_update_has_the_strength_of_its_ramp():
    model, batch = example()
    ramped = SAM(rho=0.4, ramp=Ramp(shape="quadratic", updates=100))
    assert gradient_sharpness(model, LOSS, [batch], ramped) == ascent_sharpness(model, LOSS, [batch], rho=0.4)
    halfway = gradient_sharpness(model, LOSS, [batch], ramped, step=50)
    assert halfway == pytest.approx(ascent_sharpness(model, LOSS, [batch], rho=0.2), rel=1e-9)


def test_a_method_that_perturbs_nothing_has_no_gradient_sharpness():
    with pytest.raises(AimcError, match=r"SGD"):
        gradient_sharpness(example()[0], LOSS, [example()[1]], SGD())


@pytest.mark.parametrize("m", [13, 0, 2.5])
def test_minibatches_that_cannot_be_are_refused(m):
    with pytest.raises(AimcError, match=r"\bm\b"):
        ascent_sharpness(example()[0], LOSS, [example()[1]], rho=0.1, m=m)


def test_batches_of_different_shapes_are_not_regrouped():
    batches = [(torch.randn(2, 1, n, n), torch.zeros(2, dtype=torch.long)) for n in (3, 4)]
    with pytest.raises(AimcError, match="alike"):
        list(minibatches(batches, 4))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ["average", "ascent", "gradient"])
def test_the_model_is_left_bit_for_bit_and_in_its_mode(name, training):
    model = batchnorm_net().train(training)
    batch = torch.randn(20, 1, 6, 6), torch.arange(20) % 3
    before = {name: value.clone() for name, value in model.state_dict().items()}
    if name == "average":
        rise = average_sharpness(model, nn.CrossEntropyLoss(), [batch, batch], Gaussian(0.5))
    elif name == "ascent":
        rise = ascent_sharpness(model, nn.CrossEntropyLoss(), [batch, batch], rho=0.5)
    else:
        rise = gradient_sharpness(model, nn.CrossEntropyLoss(), [batch, batch], RWP(sigma=0.5))
    assert rise != 0.0
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(module.training == training for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_gradients_of_an_update_under_way_are_left_alone():
    model, batch = example()
    SGD().backward(model, LOSS, [batch], step=1)
    before = model.weight.grad.clone()
    ascent_sharpness(model, LOSS, [batch], rho=0.5)
    average_sharpness(model, LOSS, [batch], Gaussian(0.1))
    assert torch.equal(model.weight.grad, before)


def test_average_sharpness_is_a_function_of_its_seed():
    model, batch = example()
    found = [average_sharpness(model, LOSS, [batch], Gaussian(0.3), seed=seed) for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize(
    ("batches", "draws"),
    [([], 5), ([example()[1]], 0), ([example()[1]], -1)],
    ids=["no batches", "0 draws", "-1 draws"],
)
def test_nothing_to_average_over_is_refused(batches, draws):
    with pytest.raises(AimcError):
        average_sharpness(example()[0], LOSS, batches, Gaussian(0.1), draws=draws)


def test_no_batches_to_ascend_on_are_refused():
    with pytest.raises(AimcError):
        ascent_sharpness(example()[0], LOSS, [], rho=0.1)
