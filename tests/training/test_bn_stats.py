"""Which pass moves the running statistics of BatchNorm, and that the others leave no trace."""

import contextlib

import pytest
import torch
from torch import nn

from aimc_robust.errors import InputError
from aimc_robust.noise import Gaussian, perturbed
from aimc_robust.seeding import Axes
from aimc_robust.training import RWP, SAM, SGD, MixedRWP

from .examples import conv_net, differing, digit_batches

LOSS = nn.CrossEntropyLoss()
BATCHES = digit_batches(2)


def buffers_of(model):
    return {name: buffer.clone() for name, buffer in model.named_buffers()}


def buffers_after(method):
    model = conv_net()
    method.backward(model, LOSS, BATCHES[: method.batches_per_update], step=1)
    return buffers_of(model)


def buffers_after_forward(batch, noise=None):
    """One forward pass in training mode, at clean or perturbed weights."""
    model = conv_net()
    if noise is None:
        model(batch[0])
    else:
        with perturbed(model, noise, generator=Axes(0).at(use="training", step=1)):
            model(batch[0])
    return buffers_of(model)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (SGD(), buffers_after_forward(BATCHES[0])),
        (SAM(rho=0.5), buffers_after_forward(BATCHES[0])),
        (RWP(sigma=0.3), buffers_after_forward(BATCHES[0], Gaussian(0.3))),
        (MixedRWP(sigma=0.3), buffers_after_forward(BATCHES[0])),
        (MixedRWP(sigma=0.3, bn_stats="perturbed"), buffers_after_forward(BATCHES[1], Gaussian(0.3))),
    ],
    ids=["sgd", "sam clean", "rwp", "m-rwp clean", "m-rwp perturbed"],
)
def test_statistics_are_those_of_the_named_pass_alone(method, expected):
    assert differing(buffers_after(method), expected) == []


def test_sam_can_keep_the_statistics_of_its_perturbed_pass():
    found = buffers_after(SAM(rho=0.5, bn_stats="perturbed"))
    assert {"1.running_mean", "1.running_var"} <= set(differing(found, buffers_after(SAM(rho=0.5))))
    assert found["1.num_batches_tracked"] == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda: SGD(bn_stats="perturbed"),
        lambda: MixedRWP(sigma=0.1, lam=0.0, bn_stats="perturbed"),
        lambda: MixedRWP(sigma=0.1, lam=1.0, bn_stats="clean"),
    ],
    ids=["sgd perturbed", "m-rwp lam=0 perturbed", "m-rwp lam=1 clean"],
)
def test_no_accepted_method_leaves_batchnorm_without_statistics(make):
    # A method that never runs the pass whose statistics it keeps would be evaluated with mean 0 and variance 1.
    with contextlib.suppress(InputError):  # refusing it is right too
        assert buffers_after(make())["1.num_batches_tracked"] == 1


@pytest.mark.parametrize("method", [SAM(rho=0.1), MixedRWP(sigma=0.1)], ids=["sam", "m-rwp"])
def test_a_perturbed_pass_that_raises_leaves_no_statistics_behind(method):
    calls = 0

    def loss_fn(output, target):
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return LOSS(output, target)

    model = conv_net()
    with pytest.raises(KeyboardInterrupt):
        method.backward(model, loss_fn, BATCHES[: method.batches_per_update], step=1)
    assert differing(buffers_of(model), buffers_after_forward(BATCHES[0])) == []


class RunningMean(nn.Module):
    """A normalisation of a user's own; `assigns` replaces its buffer, where BatchNorm writes into it."""

    def __init__(self, *, assigns: bool):
        super().__init__()
        self.assigns = assigns
        self.register_buffer("mean", torch.zeros(10))

    def forward(self, x):
        if self.assigns:
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        else:
            self.mean.mul_(0.9).add_(0.1 * x.detach().mean(0))
        return x - x.mean(0)


@pytest.mark.parametrize("assigns", [False, True], ids=["writes into its buffer", "assigns its buffer"])
def test_custom_normalisation_is_covered(assigns):
    found = {}
    for name, method in {"sgd": SGD(), "sam": SAM(rho=0.5)}.items():
        model = nn.Sequential(conv_net(), RunningMean(assigns=assigns))
        method.backward(model, LOSS, BATCHES[:1], step=1)
        found[name] = model[1].mean
    assert torch.equal(found["sam"], found["sgd"])
