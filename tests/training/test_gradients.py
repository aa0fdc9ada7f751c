"""Each method's gradient against its formula, written out by hand in float64."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from aimc_robust.noise import Gaussian, perturbed
from aimc_robust.seeding import Axes
from aimc_robust.training import RWP, SAM, SGD, MixedRWP, Ramp

from .examples import conv_net, digit_batches, gradients_of

LOSS = nn.CrossEntropyLoss()
CLOSE = {"rtol": 1e-9, "atol": 1e-12}
ANALOG = ("0.weight", "6.weight")


def net():
    return conv_net(dtype=torch.float64)


def batches(count=1):
    return digit_batches(count, size=32, dtype=torch.float64)


def gradient_at(weights, batch):
    """grad L_B at the given weights."""
    model = net()
    model.load_state_dict(weights, strict=False)
    inputs, targets = batch
    LOSS(model(inputs), targets).backward()
    return gradients_of(model)


def noisy_weights(sigma, *, seed, step, scale="filter_max", strength=1.0, scope="weights"):
    axes = Axes(seed).at(use="training", step=step)
    with perturbed(net(), Gaussian(sigma, scale), generator=axes, scope=scope, strength=strength) as model:
        return copy.deepcopy(dict(model.named_parameters()))


def weights():
    return dict(net().named_parameters())


def check(method, expected, *, step=1):
    model = net()
    method.backward(model, LOSS, batches(method.batches_per_update), step=step)
    for name, gradient in gradients_of(model).items():
        torch.testing.assert_close(gradient, expected[name], **CLOSE)


def test_sgd_is_the_gradient_at_the_weights():
    check(SGD(), gradient_at(weights(), batches()[0]))


@pytest.mark.parametrize("scale", ["filter_max", "filter_norm"])
@pytest.mark.parametrize("scope", ["weights", "all"])
def test_rwp_is_the_gradient_at_perturbed_weights(scale, scope):
    at = noisy_weights(0.1, seed=3, step=11, scale=scale, scope=scope)
    check(RWP(sigma=0.1, scale=scale, scope=scope, seed=3), gradient_at(at, batches()[0]), step=11)


def test_a_ramp_shortens_the_perturbation():
    at = noisy_weights(0.1, seed=0, step=2, strength=0.25)
    check(RWP(sigma=0.1, ramp=Ramp(shape="quadratic", updates=8)), gradient_at(at, batches()[0]), step=2)


@pytest.mark.parametrize("lam", [0.0, 0.3, 0.5, 1.0])
def test_mixed_rwp_puts_lam_on_the_perturbed_gradient_of_the_second_batch(lam):
    first, second = batches(2)
    clean = gradient_at(weights(), first)
    noisy = gradient_at(noisy_weights(0.1, seed=0, step=4), second)
    expected = {name: (1 - lam) * clean[name] + lam * noisy[name] for name in clean}
    check(MixedRWP(sigma=0.1, lam=lam, bn_stats="perturbed" if lam == 1.0 else "clean"), expected, step=4)


def sam_oracle(rho, norm_over):
    """grad L(w + rho g / ||g||): the conv and linear weights move, by a norm over the parameters `norm_over`."""
    batch = batches()[0]
    gradient = gradient_at(weights(), batch)
    norm = math.sqrt(sum(float(gradient[name].square().sum()) for name in norm_over))
    moved = {name: w.detach() + (rho / norm * gradient[name] if name in ANALOG else 0) for name, w in weights().items()}
    return gradient_at(moved, batch)


def test_sam_is_the_gradient_after_an_ascent_over_one_global_norm():
    check(SAM(rho=0.5), sam_oracle(0.5, ANALOG))


def test_a_ramp_shortens_the_ascent():
    check(SAM(rho=2.0, ramp=Ramp(shape="quadratic", updates=8)), sam_oracle(0.5, ANALOG), step=2)


def test_a_norm_over_all_parameters_would_be_seen():
    with pytest.raises(AssertionError):
        check(SAM(rho=0.5), sam_oracle(0.5, list(weights())))


def test_sam_of_a_linear_model_matches_its_closed_form():
    # Without autograd on the expected side: L = mean((x W' - y)^2), grad = 2/(n o) (x W' - y)' x.
    rng = np.random.default_rng(0)
    w, x, y = rng.normal(size=(3, 5)), rng.normal(size=(7, 5)), rng.normal(size=(7, 3))

    def gradient(w):
        return 2 / y.size * (x @ w.T - y).T @ x

    g = gradient(w)
    model = nn.Linear(5, 3, bias=False, dtype=torch.float64)
    model.weight.data = torch.tensor(w)
    SAM(rho=0.7).backward(model, nn.MSELoss(), [(torch.tensor(x), torch.tensor(y))], step=1)
    np.testing.assert_allclose(model.weight.grad, gradient(w + 0.7 * g / np.linalg.norm(g)), rtol=1e-9)


def test_sam_stays_where_it_is_when_the_gradient_is_zero():
    model, seen = nn.Linear(2, 2, bias=False), []

    def loss_fn(output, _):
        seen.append(model.weight.detach().clone())
        return 0.0 * output.sum()

    SAM(rho=1.0).backward(model, loss_fn, [(torch.ones(1, 2), None)], step=1)
    assert torch.equal(seen[0], seen[1])


def test_sam_leaves_unused_and_frozen_weights_out_of_its_norm():
    model = nn.ModuleDict({"used": nn.Linear(2, 1), "unused": nn.Linear(2, 1), "frozen": nn.Linear(1, 1)})
    model["frozen"].requires_grad_(False)
    model.forward = lambda x: model["frozen"](model["used"](x))
    before, seen = model["used"].weight.detach().clone(), []

    def loss_fn(output, _):
        seen.append(model["used"].weight.detach().clone())
        return output.sum()

    SAM(rho=0.5).backward(model, loss_fn, [(torch.ones(4, 2), None)], step=1)
    assert torch.linalg.vector_norm(seen[1] - before).item() == pytest.approx(0.5, rel=1e-5)
    assert model["frozen"].weight.grad is None
    assert model["unused"].weight.grad is None


@pytest.mark.parametrize(
    ("method", "loss_at"),
    [
        (SGD(), lambda: loss_at(weights(), 0)),
        (RWP(sigma=0.1), lambda: loss_at(noisy_weights(0.1, seed=0, step=1), 0)),
        (MixedRWP(sigma=0.1, lam=0.3),
         lambda: 0.7 * loss_at(weights(), 0) + 0.3 * loss_at(noisy_weights(0.1, seed=0, step=1), 1)),
    ],
    ids=["sgd", "rwp", "m-rwp"],
)  # fmt: skip
def test_the_returned_loss_is_the_one_that_the_gradient_belongs_to(method, loss_at):
    returned = method.backward(net(), LOSS, batches(method.batches_per_update), step=1)
    assert returned.item() == pytest.approx(loss_at(), rel=1e-9)


def loss_at(weights, number):
    model = net()
    model.load_state_dict(weights, strict=False)
    inputs, targets = batches(2)[number]
    return LOSS(model(inputs), targets).item()
