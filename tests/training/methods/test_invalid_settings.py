"""Settings and calls that a method refuses, with a message that says what to mend."""

from dataclasses import replace

import pytest
import torch
from support.training_examples import conv_net, digit_batches
from torch import nn

from aimc_robust.errors import InputError, UnknownNameError
from aimc_robust.noise.distributions import Gaussian
from aimc_robust.training.methods.rwp import RWP, MixedRWP
from aimc_robust.training.methods.sam import SAM, AdaptiveSAM
from aimc_robust.training.methods.sgd import SGD

NAN, INF = float("nan"), float("inf")
EVERY = [SGD(), SAM(rho=0.1), SAM(rho=0.1, m=16), AdaptiveSAM(rho=0.1), RWP(sigma=0.1), MixedRWP(sigma=0.1)]


@pytest.mark.parametrize(
    ("method", "settings", "error", "message"),
    [
        (RWP, {"sigma": -0.1}, InputError, r"sigma.*got -0\.1"),
        (RWP, {"sigma": NAN}, InputError, "sigma"),
        (RWP, {"sigma": INF}, InputError, "sigma"),
        (RWP, {"sigma": "0.1"}, InputError, r"sigma.*'0\.1'"),
        (RWP, {"sigma": 0.1, "noise": Gaussian(0.1)}, InputError, "RWP"),
        (RWP, {}, InputError, "RWP"),
        (RWP, {"noise": 0.1}, InputError, r"WeightNoise.*got 0\.1"),
        (RWP, {"sigma": 0.1, "scale": "filter_maxx"}, UnknownNameError, "'filter_max'"),
        (RWP, {"sigma": 0.1, "bn_stats": "clean"}, InputError, "'perturbed'"),
        (RWP, {"sigma": 0.1, "scope": "wieghts"}, UnknownNameError, "'wieghts'.*'weights'"),
        (RWP, {"sigma": 0.1, "ramp": "quadratic"}, InputError, r"ramp.*'quadratic'"),
        (SAM, {"rho": -1.0}, InputError, "rho"),
        (SAM, {"rho": NAN}, InputError, "rho"),
        (SAM, {"rho": 0.1, "bn_stats": "noisy"}, UnknownNameError, "bn_stats.*'noisy'"),
        (SAM, {"rho": 0.1, "scope": "wieghts"}, UnknownNameError, "'wieghts'.*'weights'"),
        (SGD, {"scope": "wieghts"}, UnknownNameError, "'wieghts'.*'weights'"),
        (MixedRWP, {}, InputError, "MixedRWP"),
        (MixedRWP, {"sigma": -0.1}, InputError, "sigma"),
        (MixedRWP, {"sigma": 0.1, "parallel": "no"}, InputError, "parallel.*got 'no'"),
        (MixedRWP, {"sigma": 0.1, "lam": 1.5}, InputError, r"lam.*0.*1.*got 1\.5"),
        (MixedRWP, {"sigma": 0.1, "lam": -0.5}, InputError, "lam.*0.*1"),
        (MixedRWP, {"sigma": 0.1, "lam": NAN}, InputError, "lam"),
        (MixedRWP, {"sigma": 0.1, "lam": 0.0, "parallel": True}, InputError, "lam 0"),
        (MixedRWP, {"sigma": 0.1, "lam": 1.0, "parallel": True, "bn_stats": "perturbed"}, InputError, "lam 1"),
        (MixedRWP, {"sigma": 0.1, "batches": "both"}, UnknownNameError, "'both'"),
        (MixedRWP, {"sigma": 0.1, "draws": 0}, InputError, "draws.*got 0"),
        (RWP, {"sigma": 0.1, "draws": 0}, InputError, "draws.*got 0"),
        (RWP, {"sigma": 0.1, "draws": 1.5}, InputError, r"draws.*got 1\.5"),
        (RWP, {"sigma": 0.1, "draws": True}, InputError, "draws"),
        (RWP, {"sigma": 0.1, "per_worker": 1}, InputError, "per_worker.*got 1"),
        (SGD, {"per_worker": "yes"}, InputError, "per_worker.*got 'yes'"),
        (SAM, {"rho": INF}, InputError, "rho"),
        (SAM, {"rho": 0.1, "batches": "both"}, UnknownNameError, "'both'"),
        (SAM, {"rho": 0.1, "m": 0}, InputError, r"^m\b.*got 0"),
        (SAM, {"rho": 0.1, "m": 2.5}, InputError, r"^m\b.*got 2\.5"),
        (SAM, {"rho": 0.1, "m": True}, InputError, r"^m\b"),
        (AdaptiveSAM, {"rho": -1.0}, InputError, "rho"),
        (AdaptiveSAM, {"rho": 1.0, "eta": -0.01}, InputError, r"eta.*got -0\.01"),
        (AdaptiveSAM, {"rho": 1.0, "eta": NAN}, InputError, "eta"),
        (AdaptiveSAM, {"rho": 1.0, "m": -1}, InputError, r"^m\b.*got -1"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_when_the_method_is_made(method, settings, error, message):
    with pytest.raises(error, match=message):
        method(**settings)


@pytest.mark.parametrize(("lam", "bn_stats"), [(0.0, "clean"), (1.0, "perturbed")])
def test_lam_may_be_either_end(lam, bn_stats):
    assert MixedRWP(sigma=0.1, lam=lam, bn_stats=bn_stats).gradient_weights == (1.0 - lam, lam)


def test_settings_are_given_by_name():
    with pytest.raises(TypeError):
        RWP(0.1)


@pytest.mark.parametrize(
    ("method", "count", "expected"),
    [
        (SGD(), 2, 1),
        (SGD(), 0, 1),
        (SAM(rho=0.1), 2, 1),
        (SAM(rho=0.1, batches="different"), 1, 2),
        (AdaptiveSAM(rho=0.1, m=4), 2, 1),
        (RWP(sigma=0.1), 0, 1),
        (RWP(sigma=0.1, draws=2), 2, 1),
        (MixedRWP(sigma=0.1), 1, 2),
        (MixedRWP(sigma=0.1, batches="same"), 2, 1),
    ],
)
def test_a_wrong_number_of_batches_is_refused(method, count, expected):
    model = conv_net()
    with pytest.raises(InputError, match=rf"{type(method).__name__} takes {expected} batch.*got {count}"):
        method.backward(model, nn.CrossEntropyLoss(), digit_batches(count), step=1)
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("method", EVERY)
def test_a_loss_that_is_not_a_scalar_is_refused(method):
    each = nn.CrossEntropyLoss(reduction="none")
    with pytest.raises(InputError, match=r"got a.*16"):
        method.backward(conv_net(), each, digit_batches(method.batches_per_update), step=1)


@pytest.mark.parametrize("method", EVERY[1:])
def test_a_model_without_a_weight_in_scope_is_refused(method):
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten())
    with pytest.raises(InputError, match=r"Sequential.*'weights'"):
        method.backward(model, nn.CrossEntropyLoss(), digit_batches(method.batches_per_update), step=1)


@pytest.mark.parametrize("method", EVERY[1:])
def test_a_scope_that_picks_nothing_is_refused(method):
    nothing = replace(method, scope=lambda name, parameter: False)
    with pytest.raises(InputError, match="Sequential"):
        nothing.backward(conv_net(), nn.CrossEntropyLoss(), digit_batches(method.batches_per_update), step=1)


@pytest.mark.parametrize("kind", [SAM, AdaptiveSAM])
def test_sam_refuses_a_model_whose_weights_in_scope_are_all_frozen(kind):
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    model[0].requires_grad_(False)
    with pytest.raises(InputError, match=r"frozen|trainable|requires_grad"):
        kind(rho=0.1).backward(model, nn.CrossEntropyLoss(), [(torch.rand(8, 4), torch.arange(8) % 4)], step=1)
