"""Ramps against Eq. 6 and 7 of the Incorruptible paper, in the paper's own terms: the variance sigma_t^2."""

from fractions import Fraction

import pytest
import torch
from torch import nn

from aimc_robust.errors import InputError, UnknownNameError
from aimc_robust.training import RWP, SAM, Ramp

UPDATES = 40


def quadratic_variance(t):
    return Fraction(min(t, UPDATES), UPDATES) ** 2


def linear_variance(t):
    return Fraction(min(t, UPDATES), UPDATES)


EQUATIONS = {"quadratic": quadratic_variance, "linear": linear_variance}


@pytest.mark.parametrize("shape", EQUATIONS)
@pytest.mark.parametrize("t", [0, 1, 2, 10, 20, 39, 40, 41, 4000])
def test_the_variance_follows_the_paper(shape, t):
    variance = RWP(sigma=0.1, ramp=Ramp(shape=shape, updates=UPDATES)).strength(t) ** 2
    assert variance == pytest.approx(0.1**2 * float(EQUATIONS[shape](t)), rel=1e-12, abs=0.0)


@pytest.mark.parametrize(("shape", "other"), [("quadratic", "linear"), ("linear", "quadratic")])
def test_the_two_shapes_are_not_confused(shape, other):
    factor = Ramp(shape=shape, updates=UPDATES).factor(10)
    assert factor**2 != pytest.approx(float(EQUATIONS[other](10)), rel=0.5)


def test_a_quadratic_ramp_grows_sigma_linearly():
    ramp = Ramp(shape="quadratic", updates=4)
    assert [ramp.factor(t) for t in range(6)] == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]


def test_the_same_shapes_grow_the_radius_of_sam():
    sam = SAM(rho=2.0, ramp=Ramp(shape="linear", updates=16))
    assert [sam.strength(t) for t in (1, 4, 16, 17)] == [0.5, 1.0, 2.0, 2.0]


@pytest.mark.parametrize("t", [0, 1, 10**9])
def test_a_constant_ramp_is_full_throughout(t):
    assert Ramp().factor(t) == 1.0


def test_a_ramp_of_one_update_is_full_at_once():
    assert Ramp(shape="quadratic", updates=1).factor(1) == Ramp(shape="linear", updates=1).factor(1) == 1.0


def test_an_unknown_shape_is_refused_with_the_known_ones():
    with pytest.raises(UnknownNameError, match=r"unknown ramp shape 'quadratc': did you mean 'quadratic'.*linear"):
        Ramp(shape="quadratc", updates=10)


@pytest.mark.parametrize("updates", [None, 0, -5, 2.5, "10"])
def test_a_growing_ramp_needs_a_whole_number_of_updates(updates):
    with pytest.raises(InputError, match=r"`updates` of a quadratic ramp must be a whole number from 1"):
        Ramp(shape="quadratic", updates=updates)


def test_a_constant_ramp_takes_no_length():
    with pytest.raises(InputError, match="constant ramp has no length"):
        Ramp(updates=10)


def measured_std(ramp, step):
    """Standard deviation of the perturbation that RWP's loss function meets at update `step`, sigma_max = 0.1."""
    model = nn.Linear(300, 200, bias=False)
    before, seen = model.weight.detach().clone(), []

    def loss_fn(output, _):
        seen.append(model.weight.detach().clone())
        return output.sum()

    method = RWP(sigma=0.1, scale="absolute", ramp=ramp)
    method.backward(model, loss_fn, [(torch.ones(1, 300), torch.zeros(1))], step=step)
    return float((seen[0] - before).std())


@pytest.mark.parametrize("shape", EQUATIONS)
def test_the_noise_in_training_has_the_variance_of_the_equation(shape):
    # 60000 weights: the measured standard deviation is within 0.3 % (one standard error) of the drawn one.
    half_way = measured_std(Ramp(shape=shape, updates=UPDATES), UPDATES // 2)
    other = "linear" if shape == "quadratic" else "quadratic"
    assert half_way == pytest.approx(0.1 * float(EQUATIONS[shape](20)) ** 0.5, rel=0.015)
    assert half_way != pytest.approx(0.1 * float(EQUATIONS[other](20)) ** 0.5, rel=0.015)
