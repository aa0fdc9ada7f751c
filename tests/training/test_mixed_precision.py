"""Mixed precision: bfloat16 under the user's own autocast, and float16 with the user's own GradScaler.

Autocast keeps the low-precision copies of weights that it made, and does not see weights change in place: a method
that runs two passes inside one autocast block, and does not clear these copies, silently trains as plain SGD.
"""

import pytest
import torch
from support.training_examples import conv_net, differing, digit_batches, gradients_of, state_of
from torch import nn
from torch.amp import GradScaler

from aimc_robust.analysis.sharpness import ascent_sharpness, average_sharpness
from aimc_robust.noise.distributions import Gaussian
from aimc_robust.noise.perturbation import perturbed
from aimc_robust.seeding import Axes
from aimc_robust.training.methods.rwp import RWP, MixedRWP
from aimc_robust.training.methods.sam import SAM, AdaptiveSAM
from aimc_robust.training.methods.sgd import SGD

LOSS = nn.CrossEntropyLoss()
METHODS = {
    "sam": SAM(rho=1.0),
    "asam": AdaptiveSAM(rho=3.0),
    "rwp": RWP(sigma=0.3),
    "rwp, two draws": RWP(sigma=0.3, draws=2),
    "m-rwp": MixedRWP(sigma=0.3),
}
TOO_LARGE = 2.0**40  # a loss scale at which float16 gradients overflow


def autocast(dtype=torch.bfloat16):
    return torch.autocast("cpu", dtype=dtype)


def gradient(method, *, dtype=None, scaler=None):
    model = conv_net()
    with torch.autocast("cpu", dtype=dtype or torch.bfloat16, enabled=dtype is not None):
        method.backward(model, LOSS, digit_batches(method.batches_per_update, size=64), step=1, scaler=scaler)
    return torch.cat([value.flatten() for value in gradients_of(model).values()])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_the_gradient_is_that_of_full_precision_up_to_rounding(method, dtype):
    full = gradient(method)
    scaler = GradScaler("cpu", init_scale=1024.0) if dtype == torch.float16 else None
    found = gradient(method, dtype=dtype, scaler=scaler) / (1024 if scaler else 1)
    error = (found - full).norm() / full.norm()
    ignored = (gradient(SGD()) - full).norm() / full.norm()
    assert error < 0.05 < 0.2 < ignored


@pytest.mark.parametrize("method", [SGD(), *METHODS.values()], ids=["sgd", *METHODS])
def test_a_scaler_multiplies_the_gradient_and_nothing_else(method):
    scaled = gradient(method, scaler=GradScaler("cpu", init_scale=1024.0))
    torch.testing.assert_close(scaled, 1024 * gradient(method), rtol=1e-4, atol=1e-4)


def test_a_disabled_scaler_is_none():
    assert torch.equal(gradient(SAM(rho=1.0), scaler=GradScaler("cpu", enabled=False)), gradient(SAM(rho=1.0)))


def float16_loop(method, model, scaler, *, updates, clip=None):
    """PyTorch's own recipe for a GradScaler; `method.backward` stands where `scaler.scale(loss).backward()` does."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses, norms = [], []
    for step in range(1, updates + 1):
        optimizer.zero_grad()
        with autocast(torch.float16):
            batches = digit_batches(method.batches_per_update, size=64)
            losses.append(float(method.backward(model, LOSS, batches, step=step, scaler=scaler)))
        if clip is not None:
            scaler.unscale_(optimizer)
            norms.append(float(nn.utils.clip_grad_norm_(model.parameters(), clip)))
            assert nn.utils.get_total_norm([p.grad for p in model.parameters()]) < 1.001 * clip
        scaler.step(optimizer)
        scaler.update()
    return losses, norms


@pytest.mark.slow
@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_float16_training_with_a_scaler_and_clipping_lowers_the_loss(method, clip):
    losses, norms = float16_loop(method, conv_net(), GradScaler("cpu", init_scale=1024.0), updates=30, clip=clip)
    assert losses[-1] < 0.7 * losses[0]
    assert all(norm < 50 for norm in norms)  # unscaled, not 1024 times as large


@pytest.mark.parametrize("method", [SGD(), *METHODS.values()], ids=["sgd", *METHODS])
def test_an_update_that_overflows_is_skipped_and_halves_the_scale(method):
    model, scaler = conv_net(), GradScaler("cpu", init_scale=TOO_LARGE)
    before = state_of(model)
    float16_loop(method, model, scaler, updates=1)
    assert not all(p.grad.isfinite().all() for p in model.parameters())
    assert scaler.get_scale() == TOO_LARGE / 2
    assert differing(before, before | dict(model.named_parameters())) == []
    float16_loop(method, model, scaler, updates=40)  # scale low enough by now
    assert len(differing(before, before | dict(model.named_parameters()))) == len(list(model.parameters()))
    assert all(value.isfinite().all() for value in state_of(model).values())


def test_an_ascent_that_overflows_does_not_break_statistics_of_perturbed_weights():
    model = conv_net()
    float16_loop(SAM(rho=0.1, bn_stats="perturbed"), model, GradScaler("cpu", init_scale=TOO_LARGE), updates=1)
    assert model[1].running_mean.isfinite().all()
    float16_loop(SAM(rho=0.1, bn_stats="perturbed"), model, GradScaler("cpu", init_scale=1024.0), updates=1)
    assert model[1].running_mean.abs().sum() > 0


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
