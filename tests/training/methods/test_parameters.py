"""Which parameters a method perturbs and trains: frozen ones, tied ones, and those of several optimizers."""

import copy

import pytest
import torch
from support.training_examples import conv_net, differing, digit_batches, state_of
from torch import nn

from aimc_robust.noise.distributions import Gaussian
from aimc_robust.noise.perturbation import perturbed
from aimc_robust.seeding import Axes
from aimc_robust.training.methods.rwp import RWP, MixedRWP
from aimc_robust.training.methods.sam import SAM, AdaptiveSAM
from aimc_robust.training.methods.sgd import SGD

LOSS = nn.CrossEntropyLoss()
CLOSE = {"rtol": 1e-9, "atol": 1e-12}
METHODS = {
    "sgd": SGD(),
    "sam": SAM(rho=0.5),
    "asam": AdaptiveSAM(rho=0.5),
    "rwp": RWP(sigma=0.1),
    "m-rwp": MixedRWP(sigma=0.1),
}
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


@every_method
def test_a_frozen_weight_gets_no_gradient_and_sits_in_the_array_all_the_same(method):
    model, seen = conv_net(), []
    before = state_of(model)
    model[0].weight.requires_grad_(False)

    def loss_fn(output, target):
        seen.append(state_of(model))
        return LOSS(output, target)

    method.backward(model, loss_fn, digit_batches(method.batches_per_update), step=1)
    assert model[0].weight.grad is None
    assert ("0.weight" in differing(before, seen[-1])) == isinstance(method, RWP | MixedRWP)
    assert ("6.weight" in differing(before, seen[-1])) == (not isinstance(method, SGD))
    assert differing(before, before | dict(model.named_parameters())) == []


def test_a_frozen_weight_does_not_lengthen_the_ascent():
    model = conv_net(dtype=torch.float64)
    model[0].weight.requires_grad_(False)
    seen = []

    def loss_fn(output, target):
        seen.append(model[6].weight.detach().clone())
        return LOSS(output, target)

    SAM(rho=0.5).backward(model, loss_fn, digit_batches(1, dtype=torch.float64), step=1)
    assert torch.linalg.vector_norm(seen[1] - seen[0]) == pytest.approx(0.5)


class Tied(nn.Module):
    """One weight in two layers, as in language models."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.into = nn.Linear(8, 8, bias=False, dtype=torch.float64)
        self.out = nn.Linear(8, 8, bias=False, dtype=torch.float64)
        self.out.weight = self.into.weight

    def forward(self, inputs):
        return self.out(self.into(inputs).tanh())


@pytest.mark.parametrize("scope", ["weights", "all"])
@pytest.mark.parametrize("method", [RWP, SAM, MixedRWP])
def test_a_tied_weight_is_perturbed_once(method, scope):
    model, loss_fn, seen = Tied(), nn.MSELoss(), []
    batch = torch.randn(4, 8, dtype=torch.float64), torch.randn(4, 8, dtype=torch.float64)
    clean = copy.deepcopy(model)
    loss_fn(clean(batch[0]), batch[1]).backward()
    weight, gradient = clean.into.weight, clean.into.weight.grad
    if method is SAM:
        made, moved = SAM(rho=0.5, scope=scope), weight + 0.5 * gradient / gradient.norm()
    else:
        made = method(sigma=0.1, scope=scope)
        with perturbed(copy.deepcopy(model), Gaussian(0.1), generator=Axes(0).at(use="training", step=1)) as noisy:
            moved = noisy.into.weight.detach().clone()

    def watched(output, target):
        seen.append(model.into.weight.detach().clone())
        assert model.out.weight is model.into.weight
        return loss_fn(output, target)

    made.backward(model, watched, [batch] * made.batches_per_update, step=1)
    torch.testing.assert_close(seen[-1], moved.detach(), **CLOSE)
    at = copy.deepcopy(model)
    at.into.weight.data = moved.detach()
    at.zero_grad()
    loss_fn(at(batch[0]), batch[1]).backward()
    expected = (gradient + at.into.weight.grad) / 2 if method is MixedRWP else at.into.weight.grad
    torch.testing.assert_close(model.into.weight.grad, expected, **CLOSE)
    assert torch.equal(model.into.weight, weight)


@every_method
def test_several_optimizers_and_parameter_groups_step_as_one_would(method):
    def train(make):
        model = conv_net()
        optimizers = make(model)
        for step in range(1, 4):
            method.backward(model, LOSS, digit_batches(method.batches_per_update), step=step)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
        return state_of(model)

    def one(model):
        return [torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)]

    def groups(model):
        parts = [{"params": model[:2].parameters()}, {"params": model[2:].parameters(), "lr": 0.1}]
        return [torch.optim.SGD(parts, lr=0.1, momentum=0.9)]

    def several(model):
        parts = [model[0].parameters(), model[1:].parameters()]
        return [torch.optim.SGD(part, lr=0.1, momentum=0.9) for part in parts]

    def other_rates(model):
        return [torch.optim.SGD(model[0].parameters(), lr=0.1), torch.optim.AdamW(model[1:].parameters())]

    expected = train(one)
    assert differing(expected, train(groups)) == []
    assert differing(expected, train(several)) == []
    assert differing(expected, train(other_rates)) != []
