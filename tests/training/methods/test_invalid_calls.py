"""Calls of a method that cannot work, each with one sentence instead of an error from deep inside."""

import pytest
import torch
from support.training_examples import conv_net, digit_batches
from torch import nn

from aimc_robust.errors import AimcError, InputError
from aimc_robust.noise.distributions import Laplace
from aimc_robust.training.methods.ramp import Ramp
from aimc_robust.training.methods.rwp import RWP, MixedRWP
from aimc_robust.training.methods.sam import SAM
from aimc_robust.training.methods.sgd import SGD

LOSS = nn.CrossEntropyLoss()
FIRST, SECOND = digit_batches(2)


@pytest.mark.parametrize(
    ("batches", "method"),
    [
        ([FIRST, (SECOND[0][:12], SECOND[1][:12])], SAM(rho=0.1, m=8, batches="different")),
        ([(FIRST[0], FIRST[1][:12])], SAM(rho=0.1, m=8)),
        ([(FIRST[0], list(FIRST[1]))], SAM(rho=0.1, m=8)),
    ],
    ids=["batches of two lengths", "too few targets", "targets in a list"],
)
def test_batches_that_m_cannot_cut_are_refused(batches, method):
    with pytest.raises(InputError, match="m = 8"):
        method.backward(conv_net(), LOSS, batches, step=1)


def test_an_ascent_without_a_gradient_is_refused():
    model = conv_net()
    with pytest.raises(InputError, match="SAM"):
        SAM(rho=0.1, scope=lambda name, _: name == "0.weight").backward(
            model, lambda output, _: model[6].weight.sum(), [FIRST], step=1
        )


def test_a_loss_that_is_a_number_is_refused():
    with pytest.raises(InputError, match=r"loss_fn.*got a"):
        SGD().backward(conv_net(), lambda output, target: LOSS(output, target).item(), [FIRST], step=1)


@pytest.mark.parametrize(
    ("batch", "says"),
    [(FIRST[0], "got a tensor"), ((*FIRST, FIRST[1]), "takes 2 positional arguments"), ({"x": FIRST[0]}, "keys x")],
    ids=["bare", "triple", "dictionary"],
)
def test_a_batch_that_is_no_pair_is_refused(batch, says):
    with pytest.raises(AimcError, match=says):
        SGD().backward(conv_net(), LOSS, [batch], step=1)


@pytest.mark.parametrize("method", [SGD(), RWP(sigma=0.1), MixedRWP(sigma=0.1)])
def test_a_model_that_is_wholly_frozen_is_refused(method):
    model = conv_net().requires_grad_(False)
    with pytest.raises(InputError, match="trainable"):
        method.backward(model, LOSS, [FIRST, SECOND][: method.batches_per_update], step=1)


@pytest.mark.parametrize("step", [0, -1, 1.5, "1", None])
@pytest.mark.parametrize("method", [SGD(), SAM(rho=0.1), RWP(sigma=0.1)])
def test_a_step_that_is_no_whole_number_from_1_is_refused(method, step):
    with pytest.raises(InputError, match="step"):
        method.backward(conv_net(), LOSS, [FIRST], step=step)


@pytest.mark.parametrize("total", [0, -5, 1.5, float("nan")])
def test_a_run_without_a_length_is_refused(total):
    with pytest.raises(InputError, match="updates"):
        RWP(sigma=0.1, ramp=Ramp(shape="linear", fraction=0.5)).for_run(total)


@pytest.mark.parametrize("seed", [1.5, "a", -1])
def test_a_seed_that_is_no_whole_number_is_refused(seed):
    with pytest.raises(InputError, match="seed"):
        RWP(sigma=0.1, seed=seed)


def test_a_scale_beside_a_noise_is_refused():
    with pytest.raises(InputError, match="scale"):
        RWP(noise=Laplace(0.1), scale="layer_max")


def test_parts_of_m_share_the_update_by_their_images():
    def gradient(method):
        model = conv_net()
        method.backward(model, LOSS, [FIRST], step=1)
        return model[6].weight.grad

    # Without a radius the cut batch has the gradient of the whole, BatchNorm aside: in evaluation mode, then.
    def gradient_in_evaluation(method):
        model = conv_net().eval()
        method.backward(model, LOSS, [FIRST], step=1)
        return model[6].weight.grad

    torch.testing.assert_close(gradient_in_evaluation(SAM(rho=0.0, m=5)), gradient_in_evaluation(SGD()))
    assert not torch.allclose(gradient(SAM(rho=0.0, m=5)), gradient(SGD()))
