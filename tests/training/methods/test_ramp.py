"""Ramps against Eq. 6 and 7 of the Incorruptible paper, in the paper's own terms: the variance sigma_t^2."""

import warnings
from fractions import Fraction

import pytest
import torch
from support.for_each import for_each
from support.training_oracles import unit_noise
from torch import nn

from aimc_robust.errors import InputError, UnknownNameError
from aimc_robust.training.methods.ramp import Ramp
from aimc_robust.training.methods.rwp import RWP, MixedRWP
from aimc_robust.training.methods.sam import SAM, AdaptiveSAM

UPDATES = 40


def quadratic_variance(t):
    return Fraction(min(t, UPDATES), UPDATES) ** 2


def linear_variance(t):
    return Fraction(min(t, UPDATES), UPDATES)


EQUATIONS = {"quadratic": quadratic_variance, "linear": linear_variance}


@for_each("shape", EQUATIONS)
@for_each("t", [0, 1, 2, 10, 20, 39, 40, 41, 4000])
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


@pytest.mark.parametrize("shape", EQUATIONS)
def test_before_the_first_update_there_is_no_perturbation(shape):
    assert [Ramp(shape=shape, updates=4).factor(t) for t in (-3, 0)] == [0.0, 0.0]


def test_an_unknown_shape_is_refused_with_the_known_ones():
    with pytest.raises(UnknownNameError, match=r"'quadratc'.*'quadratic'"):
        Ramp(shape="quadratc", updates=10)


@pytest.mark.parametrize("updates", [None, 0, -5, 2.5, "10"])
def test_a_growing_ramp_needs_a_whole_number_of_updates(updates):
    with pytest.raises(InputError, match=r"`updates`"):
        Ramp(shape="quadratic", updates=updates)


def test_a_constant_ramp_takes_no_length():
    with pytest.raises(InputError, match="ramp"):
        Ramp(updates=10)


def test_a_length_is_given_once():
    with pytest.raises(InputError, match=r"`updates`.*`fraction`"):
        Ramp(shape="linear", updates=10, fraction=0.5)


@pytest.mark.parametrize("fraction", [-0.1, 1.5, float("nan"), float("inf"), "0.5", True])
def test_a_fraction_is_a_share_of_the_run(fraction):
    with pytest.raises(InputError, match="fraction"):
        Ramp(shape="linear", fraction=fraction)


def test_a_fraction_of_nothing_is_refused():
    with pytest.raises(InputError, match=r"`fraction`.*0.*`constant`"):
        Ramp(shape="linear", fraction=0.0)


def test_a_constant_ramp_takes_no_fraction():
    with pytest.raises(InputError, match="ramp"):
        Ramp(fraction=0.5)


@pytest.mark.parametrize(
    ("fraction", "total", "updates"),
    [(0.25, 80000, 20000), (1.0, 7, 7), (0.5, 40, 20), (0.3, 9, 3), (1e-9, 100, 1), (0.4, 1, 1)],
)
def test_a_fraction_becomes_the_nearest_number_of_updates_and_at_least_one(fraction, total, updates):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Ramp(shape="linear", fraction=fraction).for_run(total) == Ramp(shape="linear", updates=updates)


def test_a_fraction_keeps_its_shape():
    assert Ramp(shape="quadratic", fraction=0.5).for_run(8).factor(1) == 0.25


@pytest.mark.parametrize("ask", [lambda m: m.strength(1), lambda m: m.ramp.factor(3), lambda m: backward(m)])
@pytest.mark.parametrize("make", [lambda r: RWP(sigma=0.1, ramp=r), lambda r: SAM(rho=0.1, ramp=r)])
def test_a_fraction_without_a_run_is_refused_with_the_call_that_gives_it(ask, make):
    method = make(Ramp(shape="linear", fraction=0.5))
    with pytest.raises(InputError, match=r"method = method\.for_run.*total_updates"):
        ask(method)
    ask(method.for_run(10))


@pytest.mark.parametrize(
    "resolve",
    [lambda ramp: ramp.for_run(40), lambda ramp: SAM(rho=0.1, ramp=ramp).for_run(40).ramp],
    ids=["ramp.for_run", "for_run"],
)
def test_a_ramp_longer_than_the_run_warns_once_with_both_lengths(resolve):
    ramp = Ramp(shape="linear", updates=41)
    with pytest.warns(UserWarning, match="ramp of 41 updates is longer than the run of 40") as record:
        assert resolve(ramp) == ramp
    assert len(record) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resolve(Ramp(shape="linear", updates=40))


def test_the_warning_points_at_the_line_that_asked():
    with pytest.warns(UserWarning, match="run") as record:
        SAM(rho=0.1, ramp=Ramp(shape="linear", updates=41)).for_run(40)
    assert record[0].filename == __file__


def backward(method, step=1):
    """(weights before, weights met by the last pass) of one update of a small layer."""
    model, seen = nn.Linear(30, 20, bias=False).double(), []
    before = model.weight.detach().clone()

    def loss_fn(output, _):
        seen.append(model.weight.detach().clone())
        return output.square().sum()

    inputs = torch.linspace(-1, 1, 120, dtype=torch.float64).view(4, 30)
    method.backward(model, loss_fn, [(inputs, None)] * method.batches_per_update, step=step)
    return before, seen[-1]


STEPS = [1, UPDATES // 2, UPDATES, 2 * UPDATES]


@for_each("shape", EQUATIONS)
@for_each("step", STEPS)
@for_each("make", [RWP, MixedRWP])
def test_the_noise_in_training_is_sigma_of_the_equation_times_the_drawn_one(make, shape, step):
    before, met = backward(make(sigma=0.1, scale="absolute", ramp=Ramp(shape=shape, updates=UPDATES)), step)
    sigma = 0.1 * float(EQUATIONS[shape](step)) ** 0.5
    noise = unit_noise("weight", before, seed=0, step=step)
    torch.testing.assert_close(met - before, sigma * noise, rtol=1e-9, atol=1e-12)


@for_each("shape", EQUATIONS)
@for_each("step", STEPS)
@for_each("kind", [SAM, AdaptiveSAM])
def test_the_ascent_in_training_has_the_radius_of_the_equation(kind, shape, step):
    before, met = backward(kind(rho=2.0, ramp=Ramp(shape=shape, updates=UPDATES)), step)
    sizes = before.abs() + 0.01 if kind is AdaptiveSAM else 1.0
    radius = 2.0 * float(EQUATIONS[shape](step)) ** 0.5
    assert torch.linalg.vector_norm((met - before) / sizes).item() == pytest.approx(radius, rel=1e-9)
