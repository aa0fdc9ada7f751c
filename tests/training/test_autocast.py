"""Under the user's own autocast the perturbed pass still runs at perturbed weights.

Autocast keeps the low-precision copies of weights that it made, and does not see weights change in place: a method
that runs two passes inside one autocast block, and does not clear these copies, silently trains as plain SGD.
"""

import pytest
import torch
from torch import nn

from aimc_robust.analysis import ascent_sharpness, average_sharpness
from aimc_robust.noise import Gaussian, perturbed
from aimc_robust.seeding import Axes
from aimc_robust.training import RWP, SAM, SGD, MixedRWP

from .examples import conv_net, digit_batches, gradients_of

LOSS = nn.CrossEntropyLoss()
METHODS = {"sam": SAM(rho=1.0), "rwp": RWP(sigma=0.3), "m-rwp": MixedRWP(sigma=0.3)}


def autocast():
    return torch.autocast("cpu", dtype=torch.bfloat16)


def gradient(method, *, mixed_precision):
    model = conv_net()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed_precision):
        method.backward(model, LOSS, digit_batches(method.batches_per_update, size=64), step=1)
    return torch.cat([value.flatten() for value in gradients_of(model).values()])


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_the_gradient_is_that_of_full_precision_up_to_rounding(method):
    full = gradient(method, mixed_precision=False)
    error = (gradient(method, mixed_precision=True) - full).norm() / full.norm()
    ignored = (gradient(SGD(), mixed_precision=False) - full).norm() / full.norm()
    assert error < 0.05 < 0.2 < ignored


def test_a_perturbation_is_seen_by_a_model_that_ran_before_and_gone_afterwards():
    model, (inputs, _) = conv_net().eval(), digit_batches(1)[0]
    with autocast():
        clean = model(inputs)
        with perturbed(model, Gaussian(0.3), generator=Axes(0)):
            noisy = model(inputs)
        again = model(inputs)
    assert not torch.equal(noisy, clean)
    assert torch.equal(again, clean)


@pytest.mark.parametrize(
    "sharpness",
    [
        lambda model, batches: average_sharpness(model, LOSS, batches, Gaussian(1.0)),
        lambda model, batches: ascent_sharpness(model, LOSS, batches, rho=1.0),
    ],
    ids=["average", "ascent"],
)
def test_sharpness_is_that_of_full_precision_up_to_rounding(sharpness):
    batches = digit_batches(3, size=64)
    full = sharpness(conv_net(), batches)
    with autocast():
        assert sharpness(conv_net(), batches) == pytest.approx(full, rel=0.1)
