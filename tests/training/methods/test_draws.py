"""The perturbations that a loss function meets during training: their distribution, and the random numbers of each."""

import math

import pytest
import torch
from scipy import stats
from support.training_oracles import scale_of, unit_noise
from torch import nn

from aimc_robust.noise.distributions import Laplace
from aimc_robust.training.methods.rwp import RWP, MixedRWP

ALPHA = 1e-3
SIGMA = 0.2
ROWS = torch.tensor([0.01, 0.1, 1.0, 3.0, 30.0], dtype=torch.float64)  # filters of very different size


def layer():
    model = nn.Linear(100, 5, bias=False).double()
    with torch.no_grad():
        model.weight.mul_(ROWS[:, None])
    return model


def perturbations(method, steps, model=None):
    """What is added to the weights in each perturbed pass: (steps * draws, outputs, inputs)."""
    model, seen = model or layer(), []
    before = model.weight.detach().clone()

    def loss_fn(output, _):
        seen.append(model.weight.detach() - before)
        return output.sum()

    inputs = torch.ones(1, 100, dtype=torch.float64)
    for step in steps:
        method.backward(model, loss_fn, [(inputs, None)] * method.batches_per_update, step=step)
    return torch.stack([move for move in seen if move.any()])


def pvalue(values, distribution):
    return stats.kstest(values.flatten().numpy(), distribution).pvalue


DISTRIBUTIONS = {
    "gaussian": (lambda scale: RWP(sigma=SIGMA, scale=scale), stats.norm().cdf),
    "m-rwp": (lambda scale: MixedRWP(sigma=SIGMA, scale=scale), stats.norm().cdf),
    "laplace": (lambda scale: RWP(noise=Laplace(SIGMA, scale)), stats.laplace().cdf),
    "laplace matched": (lambda scale: RWP(noise=Laplace(SIGMA, scale, True)), stats.laplace(scale=0.5**0.5).cdf),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "scale"),
    [(name, "filter_max") for name in DISTRIBUTIONS]
    + [(name, scale) for name in ("gaussian", "laplace") for scale in ("filter_norm", "layer_max", "absolute")],
)
def test_over_steps_it_is_distributed_as_stated_in_units_of_each_filters_scale(name, scale):
    make, cdf = DISTRIBUTIONS[name]
    model = layer()
    in_units = perturbations(make(scale), range(1, 101), model) / (SIGMA * scale_of(model.weight.detach(), scale))
    assert pvalue(in_units, cdf) > ALPHA
    for filter_number in range(5):
        assert pvalue(in_units[:, filter_number], cdf) > ALPHA
    # 50000 numbers: the mean is within 4 standard errors of 0.
    assert abs(in_units.mean()) < 4 * in_units.std() / math.sqrt(in_units.numel())
    for wrong in (stats.norm(scale=1.05), stats.laplace(scale=1.1), stats.norm(loc=0.05)):
        assert pvalue(in_units, wrong.cdf) < ALPHA


def correlation(first, second):
    return abs(float(torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1]))


def test_steps_and_draws_are_independent():
    moves = perturbations(RWP(sigma=SIGMA, draws=4), range(1, 51)).unflatten(0, (50, 4))
    per_filter = moves / ROWS[:, None]
    bound = 4 / math.sqrt(per_filter[1:].numel() / 4)
    assert correlation(per_filter[1:, 0], per_filter[:-1, 0]) < bound
    for draw in (1, 2, 3):
        assert correlation(per_filter[:, 0], per_filter[:, draw]) < bound
    assert correlation(per_filter[:, 0], per_filter[:, 0]) > bound


@pytest.mark.parametrize("make", [RWP, MixedRWP])
def test_the_first_of_several_draws_is_the_only_one_of_a_single_draw(make):
    model = layer()
    three = perturbations(make(sigma=SIGMA, draws=3, seed=4), [7], model)
    one = perturbations(make(sigma=SIGMA, seed=4), [7], model)
    assert torch.equal(three[0], one[0])
    assert len({move.sum().item() for move in three}) == 3


def test_each_draw_takes_its_noise_from_seed_step_layer_and_number():
    model = layer()
    moves = perturbations(RWP(sigma=SIGMA, scale="absolute", draws=3, seed=4), [7, 8], model)
    for number, move in enumerate(moves):
        noise = unit_noise("weight", move, seed=4, step=7 + number // 3, draw=number % 3)
        torch.testing.assert_close(move, SIGMA * noise, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_more_draws_leave_less_variance_in_the_gradient():
    # L = (w x)^2 / 2 has the gradient (w + eps) x x': over steps its variance falls as 1 / draws.
    def variance(draws):
        model, found = layer(), []
        batch = (torch.ones(1, 100, dtype=torch.float64), None)
        for step in range(1, 301):
            RWP(sigma=SIGMA, scale="absolute", draws=draws).backward(
                model, lambda output, _: output.square().sum() / 2, [batch], step=step
            )
            found.append(model.weight.grad[:, 0].clone())
            model.zero_grad()
        return torch.stack(found).var(dim=0).mean()

    # 1500 numbers each: a ratio of variances has a relative standard error of 5 %.
    assert variance(1) / variance(4) == pytest.approx(4.0, rel=0.2)
