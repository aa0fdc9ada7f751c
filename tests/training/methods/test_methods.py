"""What every update of a method leaves behind, and the limits in which the methods become plain SGD."""

from dataclasses import replace

import pytest
import torch
from support.training_examples import conv_net, differing, digit_batches, gradients_of, state_of
from torch import nn

from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.noise.distributions import Gaussian, Laplace
from aimc_robust.noise.perturbation import perturbed
from aimc_robust.seeding import Axes
from aimc_robust.training.methods.ramp import Ramp
from aimc_robust.training.methods.rwp import RWP, MixedRWP
from aimc_robust.training.methods.sam import SAM, AdaptiveSAM
from aimc_robust.training.methods.sgd import SGD

LOSS = nn.CrossEntropyLoss(label_smoothing=0.1)

REDUCE_TO_SGD = {
    "rwp": RWP(sigma=0.0),
    "rwp filter_norm all": RWP(sigma=0.0, scale="filter_norm", scope="all"),
    "rwp half way up a ramp": RWP(sigma=0.0, ramp=Ramp(shape="quadratic", updates=40)),
    "sam": SAM(rho=0.0),
    "sam perturbed statistics": SAM(rho=0.0, bn_stats="perturbed"),
    "sam whole batch": SAM(rho=0.0, m=16),
    "asam": AdaptiveSAM(rho=0.0),
    "m-rwp": MixedRWP(sigma=0.1, lam=0.0),
    "m-rwp same": MixedRWP(sigma=0.1, lam=0.0, batches="same", draws=3),
}
NOISY = {
    "sam": SAM(rho=0.1),
    "sam m": SAM(rho=0.1, m=6),
    "sam different": SAM(rho=0.1, batches="different"),
    "asam": AdaptiveSAM(rho=1.0),
    "asam all": AdaptiveSAM(rho=1.0, scope="all"),
    "rwp": RWP(sigma=0.1),
    "rwp draws": RWP(sigma=0.1, draws=3),
    "rwp all": RWP(sigma=0.1, scope="all"),
    "rwp laplace": RWP(noise=Laplace(0.1)),
    "m-rwp": MixedRWP(sigma=0.1),
    "m-rwp same": MixedRWP(sigma=0.1, batches="same", draws=2),
}


def after_updates(method, *, updates=20):
    """Weights, buffers and momentum after `updates` steps of torch's own optimizer; update t sees batch t."""
    model = conv_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-3)
    batches = digit_batches(updates + 1)
    for t in range(updates):
        optimizer.zero_grad()
        method.backward(model, LOSS, batches[t : t + method.batches_per_update], step=t + 1)
        optimizer.step()
    momentum = {f"momentum {n}": s["momentum_buffer"] for n, s in enumerate(optimizer.state.values())}
    return state_of(model) | momentum


@pytest.mark.parametrize("method", REDUCE_TO_SGD.values(), ids=REDUCE_TO_SGD)
def test_a_method_without_strength_is_sgd_bit_for_bit(method):
    assert differing(after_updates(method), after_updates(SGD())) == []


@pytest.mark.parametrize("method", NOISY.values(), ids=NOISY)
def test_the_comparison_with_sgd_sees_a_method_with_strength(method):
    assert "0.weight" in differing(after_updates(method, updates=2), after_updates(SGD(), updates=2))


@pytest.mark.parametrize("method", NOISY.values(), ids=NOISY)
def test_weights_are_restored_bit_for_bit_at_their_addresses(method):
    model = conv_net()
    before, addresses = state_of(model), [p.data_ptr() for p in model.parameters()]
    method.backward(model, LOSS, digit_batches(method.batches_per_update), step=1)
    assert differing(before, before | dict(model.named_parameters())) == []
    assert addresses == [p.data_ptr() for p in model.parameters()]


@pytest.mark.parametrize("method", [SGD(), *NOISY.values()], ids=["sgd", *NOISY])
def test_gradients_accumulate_over_backward_calls(method):
    def gradients(steps):
        model = conv_net()
        for step in steps:
            method.backward(model, LOSS, digit_batches(method.batches_per_update), step=step)
        return gradients_of(model)

    both, first, second = gradients([1, 2]), gradients([1]), gradients([2])
    for name, gradient in both.items():
        torch.testing.assert_close(gradient, first[name] + second[name], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("method", NOISY.values(), ids=NOISY)
def test_weights_are_restored_when_the_loss_function_raises_at_perturbed_weights(method):
    model = conv_net()
    before, seen = state_of(model), []

    def loss_fn(output, target):
        if differing(before, before | {"0.weight": model[0].weight}):
            seen.append(True)
            raise KeyboardInterrupt
        return LOSS(output, target)

    with pytest.raises(KeyboardInterrupt):
        method.backward(model, loss_fn, digit_batches(method.batches_per_update), step=1)
    assert seen == [True]
    assert differing(before, before | dict(model.named_parameters())) == []


@pytest.mark.parametrize("method", [RWP(sigma=0.1), MixedRWP(sigma=0.1)], ids=["rwp", "m-rwp"])
def test_the_noise_is_a_function_of_seed_and_step_alone(method):
    def gradients(method, step, global_seed):
        torch.manual_seed(global_seed)
        model = conv_net()
        method.backward(model, LOSS, digit_batches(method.batches_per_update), step=step)
        return gradients_of(model)

    reference = gradients(method, 3, global_seed=1)
    reseeded = type(method)(sigma=0.1, seed=1)
    with torch.random.fork_rng(devices=[]):
        assert differing(reference, gradients(method, 3, global_seed=2)) == []
        assert "0.weight" in differing(reference, gradients(method, 4, global_seed=1))
        assert "0.weight" in differing(reference, gradients(reseeded, 3, global_seed=1))


@pytest.mark.parametrize("method", NOISY.values(), ids=NOISY)
def test_a_process_on_its_own_is_the_only_worker(method):
    own = replace(method, per_worker=True)
    assert differing(after_updates(method, updates=3), after_updates(own, updates=3)) == []


@pytest.mark.parametrize("make", [RWP, MixedRWP])
def test_training_on_a_crossbar_meets_the_weights_that_the_crossbar_programs(make):
    crossbar, model, seen = Crossbar("rram-milo2021"), conv_net(), []

    def loss_fn(output, target):
        seen.append(state_of(model))
        return LOSS(output, target)

    method = make(noise=crossbar, seed=5)
    method.backward(model, loss_fn, digit_batches(method.batches_per_update), step=7)
    with perturbed(conv_net(), crossbar, generator=Axes(5).at(use="training", step=7)) as programmed:
        expected = state_of(programmed)
    assert [n for n in differing(seen[-1], expected) if n.endswith("weight")] == []
    assert "0.weight" in differing(expected, state_of(conv_net()))
    assert all(p.grad.abs().sum() > 0 for p in model.parameters())


def test_sigma_and_scale_are_short_for_gaussian_noise():
    short, long = RWP(sigma=0.1, scale="layer_max"), RWP(noise=Gaussian(0.1, "layer_max"))
    assert differing(after_updates(short, updates=3), after_updates(long, updates=3)) == []
