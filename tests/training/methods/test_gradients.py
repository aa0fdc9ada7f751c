"""Each method's gradient against its formula, written out by hand in float64."""

import pytest
import torch
from support.training_oracles import (
    ANALOG,
    LOSS,
    ascended,
    batches,
    check,
    gradient_at,
    loss_at,
    mix,
    net,
    noisy,
    weights,
)
from torch import nn

from aimc_robust.noise.distributions import Laplace
from aimc_robust.training.methods.ramp import Ramp
from aimc_robust.training.methods.rwp import RWP, MixedRWP
from aimc_robust.training.methods.sam import SAM
from aimc_robust.training.methods.sgd import SGD


def test_sgd_is_the_gradient_at_the_weights():
    check(SGD(), gradient_at(weights(), batches()[0]))


@pytest.mark.parametrize("scale", ["filter_max", "filter_norm", "layer_max", "absolute"])
@pytest.mark.parametrize("scope", ["weights", "all"])
def test_rwp_is_the_gradient_at_perturbed_weights(scale, scope):
    at = noisy(0.1, seed=3, step=11, scale=scale, moved=ANALOG if scope == "weights" else list(weights()))
    check(RWP(sigma=0.1, scale=scale, scope=scope, seed=3), gradient_at(at, batches()[0]), step=11)


@pytest.mark.parametrize("matched_std", [False, True])
def test_laplace_noise_has_the_parameter_b(matched_std):
    at = noisy(0.1 / 2**0.5 if matched_std else 0.1, seed=0, step=1, laplace=True)
    check(RWP(noise=Laplace(0.1, matched_std=matched_std)), gradient_at(at, batches()[0]))


def second_layer_and_biases(name, parameter):
    return name.startswith("6.") or parameter.ndim == 1


@pytest.mark.parametrize("make", [RWP, MixedRWP])
def test_a_predicate_of_name_and_parameter_chooses_what_moves(make):
    at = noisy(0.1, seed=0, step=1, moved=("1.weight", "1.bias", "6.weight", "6.bias"))
    method = make(sigma=0.1, scope=second_layer_and_biases)
    clean, perturbed = method.gradient_weights
    given = batches(method.batches_per_update)
    expected = mix((clean, gradient_at(weights(), given[0])), (perturbed, gradient_at(at, given[-1])))
    check(method, expected, given)


def test_a_ramp_shortens_the_perturbation():
    at = noisy(0.1, seed=0, step=2, strength=0.25)
    check(RWP(sigma=0.1, ramp=Ramp(shape="quadratic", updates=8)), gradient_at(at, batches()[0]), step=2)


@pytest.mark.parametrize("same", [False, True], ids=["different", "same"])
@pytest.mark.parametrize("lam", [0.0, 0.3, 0.5, 1.0])
def test_mixed_rwp_puts_lam_on_the_perturbed_gradient_of_the_last_batch(lam, same):
    given = batches(1 if same else 2)
    at = noisy(0.1, seed=0, step=4)
    expected = mix((1 - lam, gradient_at(weights(), given[0])), (lam, gradient_at(at, given[-1])))
    method = MixedRWP(
        sigma=0.1,
        lam=lam,
        batches="same" if same else "different",
        bn_stats="perturbed" if lam == 1.0 else "clean",
    )
    check(method, expected, given, step=4)


def mean_over_draws(batch, draws, *, step=5):
    return mix(*[(1 / draws, gradient_at(noisy(0.1, seed=2, step=step, draw=draw), batch)) for draw in range(draws)])


@pytest.mark.parametrize("draws", [1, 2, 5])
def test_several_draws_are_the_mean_of_the_gradients_at_their_own_weights(draws):
    check(RWP(sigma=0.1, seed=2, draws=draws), mean_over_draws(batches()[0], draws), step=5)


def test_another_number_of_draws_would_be_seen():
    with pytest.raises(AssertionError):
        check(RWP(sigma=0.1, seed=2, draws=2), mean_over_draws(batches()[0], 3), step=5)


@pytest.mark.parametrize("same", [False, True], ids=["different", "same"])
def test_mixed_rwp_shares_lam_among_its_draws(same):
    given = batches(1 if same else 2)
    expected = mix((0.7, gradient_at(weights(), given[0])), (0.3, mean_over_draws(given[-1], 3)))
    method = MixedRWP(sigma=0.1, seed=2, lam=0.3, draws=3, batches="same" if same else "different")
    check(method, expected, given, step=5)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (SGD(), lambda one, two: loss_at(weights(), one)),
        (RWP(sigma=0.1), lambda one, two: loss_at(noisy(0.1, seed=0, step=1), one)),
        (RWP(sigma=0.1, draws=2),
         lambda one, two: sum(loss_at(noisy(0.1, seed=0, step=1, draw=k), one) / 2 for k in range(2))),
        (MixedRWP(sigma=0.1, lam=0.3),
         lambda one, two: 0.7 * loss_at(weights(), one) + 0.3 * loss_at(noisy(0.1, seed=0, step=1), two)),
        (SAM(rho=0.5), lambda one, two: loss_at(ascended(0.5, one), one)),
        (SAM(rho=0.5, batches="different"), lambda one, two: loss_at(ascended(0.5, one), two)),
    ],
    ids=["sgd", "rwp", "rwp twice", "m-rwp", "sam", "sam different"],
)  # fmt: skip
def test_the_returned_loss_is_the_one_that_the_gradient_belongs_to(method, expected):
    given = batches(2)
    returned = method.backward(net(), LOSS, given[: method.batches_per_update], step=1)
    assert returned.item() == pytest.approx(expected(*given), rel=1e-9)


def test_a_transposed_convolution_has_its_filters_along_the_second_dimension():
    # Its weight is stored (in, out, k): a scale per entry of dimension 0 would be one per input.
    model, seen = nn.Sequential(nn.ConvTranspose1d(3, 2, 4)).double(), []
    before = model[0].weight.detach().clone()

    def loss_fn(output, _):
        seen.append(model[0].weight.detach().clone())
        return output.sum()

    batch = [(torch.ones(1, 3, 5, dtype=torch.float64), None)]
    tall = before.abs().amax(dim=(0, 2))
    moves = torch.zeros(2, dtype=torch.float64)
    for step in range(1, 401):
        RWP(sigma=0.1).backward(model, loss_fn, batch, step=step)
        moves += (seen[-1] - before).square().sum(dim=(0, 2)) / (400 * 12)
    torch.testing.assert_close(moves.sqrt(), 0.1 * tall, rtol=0.05, atol=0.0)
