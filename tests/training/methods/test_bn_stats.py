"""Which pass moves the running statistics of BatchNorm, and that the others leave no trace."""

import contextlib

import pytest
import torch
from support.training_examples import conv_net, differing, digit_batches
from torch import nn

from aimc_robust.errors import InputError
from aimc_robust.noise.distributions import Gaussian
from aimc_robust.noise.perturbation import perturbed
from aimc_robust.seeding import Axes
from aimc_robust.training.methods.rwp import RWP, MixedRWP
from aimc_robust.training.methods.sam import SAM, AdaptiveSAM
from aimc_robust.training.methods.sgd import SGD

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
        (SAM(rho=0.5, batches="different"), buffers_after_forward(BATCHES[0])),
        (SAM(rho=0.5, m=16), buffers_after_forward(BATCHES[0])),
        (AdaptiveSAM(rho=5.0), buffers_after_forward(BATCHES[0])),
        (RWP(sigma=0.3), buffers_after_forward(BATCHES[0], Gaussian(0.3))),
        (RWP(sigma=0.3, draws=4), buffers_after_forward(BATCHES[0], Gaussian(0.3))),
        (MixedRWP(sigma=0.3), buffers_after_forward(BATCHES[0])),
        (MixedRWP(sigma=0.3, draws=3, batches="same"), buffers_after_forward(BATCHES[0])),
        (MixedRWP(sigma=0.3, bn_stats="perturbed"), buffers_after_forward(BATCHES[1], Gaussian(0.3))),
        (MixedRWP(sigma=0.3, draws=3, bn_stats="perturbed"), buffers_after_forward(BATCHES[1], Gaussian(0.3))),
        (MixedRWP(sigma=0.3, draws=3, batches="same", bn_stats="perturbed"),
         buffers_after_forward(BATCHES[0], Gaussian(0.3))),
    ],
    ids=["sgd", "sam clean", "sam different", "sam m of the batch", "asam", "rwp", "rwp draws", "m-rwp clean",
         "m-rwp same draws", "m-rwp perturbed", "m-rwp perturbed draws", "m-rwp perturbed same draws"],
)  # fmt: skip
def test_statistics_are_those_of_the_named_pass_alone(method, expected):
    assert differing(buffers_after(method), expected) == []


@pytest.mark.parametrize("batches", ["same", "different"])
@pytest.mark.parametrize("kind", [SAM, AdaptiveSAM])
def test_sam_can_keep_the_statistics_of_its_perturbed_pass(kind, batches):
    weights = {}

    def loss_fn(output, target):
        weights.update({name: p.detach().clone() for name, p in model.named_parameters()})
        return LOSS(output, target)

    method, model = kind(rho=0.5, batches=batches, bn_stats="perturbed"), conv_net()
    given = BATCHES[: method.batches_per_update]
    method.backward(model, loss_fn, given, step=1)
    twin = conv_net()
    twin.load_state_dict(weights, strict=False)
    twin(given[-1][0])
    assert differing(buffers_of(model), buffers_of(twin)) == []
    assert {"1.running_mean", "1.running_var"} <= set(differing(buffers_of(twin), buffers_after_forward(given[-1])))


@pytest.mark.parametrize("kind", [SAM, AdaptiveSAM])
def test_each_of_m_parts_moves_the_statistics(kind):
    images, labels = BATCHES[0]
    model, expected = conv_net(), conv_net()
    kind(rho=0.5, m=6).backward(model, LOSS, [(images, labels)], step=1)
    for part in images.split(6):  # 6, 6 and 4 images at clean weights
        expected(part)
    assert differing(buffers_of(model), buffers_of(expected)) == []
    assert model[1].num_batches_tracked == 3


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


@pytest.mark.parametrize(
    "method",
    [SAM(rho=0.1), AdaptiveSAM(rho=0.1), MixedRWP(sigma=0.1), MixedRWP(sigma=0.1, batches="same", draws=2)],
    ids=["sam", "asam", "m-rwp", "m-rwp draws"],
)
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


@pytest.mark.parametrize("method", [SAM(rho=0.5), RWP(sigma=0.3, draws=2), MixedRWP(sigma=0.3)])
def test_buffers_stay_the_tensors_that_they_were(method):
    # Data parallelism and captured graphs hold on to the tensors themselves.
    model = conv_net()
    before = dict(model.named_buffers())
    method.backward(model, LOSS, BATCHES[: method.batches_per_update], step=1)
    assert all(buffer is before[name] for name, buffer in model.named_buffers())


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
