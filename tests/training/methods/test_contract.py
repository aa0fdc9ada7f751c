"""What every method in the registry promises. A new method is one class, and is tested by being listed."""

import copy
import dataclasses
import itertools
import math
import pickle
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from support.training_examples import conv_net, differing, digit_batches, state_of
from torch import nn

from aimc_robust.errors import InputError
from aimc_robust.hardware.config.converters import ADC, DAC
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.noise.analog_weights import weights_in_scope
from aimc_robust.noise.perturbation import restored
from aimc_robust.training.methods.array_aware import ArrayAware
from aimc_robust.training.methods.base import Method
from aimc_robust.training.methods.ramp import Ramp
from aimc_robust.training.methods.registry import METHODS

LOSS = nn.CrossEntropyLoss()
ARRAYS = Crossbar("pcm-nandakumar2019", rows=32, dac=DAC(bits=8), adc=ADC(bits=8))
ARGUMENTS = {
    "sgd": {},
    "sam": {"rho": 0.05},
    "asam": {"rho": 0.5},
    "rwp": {"sigma": 0.05},
    "m-rwp": {"sigma": 0.05},
    "array-aware": {"crossbar": ARRAYS},
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shrunk(Method):
    """A method of a user's own: the gradient where all weights are smaller by `share`."""

    share: float
    bn_stats: str = "perturbed"

    @property
    def gradient_weights(self) -> tuple[float, float]:
        return 0.0, 1.0

    @property
    def full_strength(self) -> float:
        return self.share

    @contextmanager
    def perturbation(self, model, passes, *, step: int, draw: int = 0) -> Iterator[nn.Module]:
        with restored(model, self.scope):
            with torch.no_grad():
                for weight in weights_in_scope(model, self.scope).values():
                    weight.mul_(1.0 - self.strength(step))
            yield model


KINDS = METHODS | {"a new one": Shrunk}


@pytest.fixture(params=KINDS)
def make(request):
    """Makes the method with the fewest arguments and those given."""
    arguments = (ARGUMENTS | {"a new one": {"share": 0.05}})[request.param]
    return lambda **more: KINDS[request.param](**arguments, **more)


def test_every_method_of_the_registry_is_a_method():
    assert METHODS.keys() == ARGUMENTS.keys()
    assert all(issubclass(kind, Method) for kind in METHODS.values())


def test_it_leaves_a_gradient_on_every_trainable_parameter_and_on_no_frozen_one(make):
    model, method = conv_net(), make()
    model[1].bias.requires_grad_(False)
    method.backward(model, LOSS, digit_batches(method.batches_per_update), step=1)
    for name, parameter in model.named_parameters():
        if name == "1.bias":
            assert parameter.grad is None
        else:
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("scope", ["weights", "all", lambda name, _: name.startswith("1.")])
def test_it_leaves_the_weights_as_they_were(make, scope):
    if scope == "all" and isinstance(make(), ArrayAware):  # arrays hold no BatchNorm
        with pytest.raises(InputError, match="scope"):
            make(scope=scope)
        return
    model, method = conv_net(), make(scope=scope)
    before = state_of(model)
    for step in range(1, 6):
        method.backward(model, LOSS, digit_batches(method.batches_per_update), step=step)
    assert differing(before, before | dict(model.named_parameters())) == []


def test_it_returns_a_finite_scalar_without_a_graph(make):
    method = make()
    loss = method.backward(conv_net(), LOSS, digit_batches(method.batches_per_update), step=1)
    assert loss.ndim == 0
    assert math.isfinite(loss)
    assert not loss.requires_grad


def test_it_draws_nothing_from_the_global_generator(make):
    model, method = conv_net(), make()
    before = torch.get_rng_state()
    method.backward(model, LOSS, digit_batches(method.batches_per_update), step=1)
    assert torch.equal(before, torch.get_rng_state())


def test_it_updates_batchnorm_statistics_once_per_update(make):
    model, method = conv_net(), make()
    method.backward(model, LOSS, digit_batches(method.batches_per_update), step=1)
    assert model[1].num_batches_tracked == 1


def test_it_lowers_the_loss(make):
    model, method = conv_net(), make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    batches = digit_batches(method.batches_per_update, size=64)
    losses = []
    for step in range(1, 31):
        losses.append(float(method.backward(model, LOSS, batches, step=step)))
        optimizer.step()
        optimizer.zero_grad()
    assert sum(losses[-5:]) / 5 < 0.5 * losses[0]


@pytest.mark.parametrize("shape", ["linear", "quadratic"])
def test_its_strength_grows_with_a_ramp_up_to_the_full_strength(make, shape):
    method = make(ramp=Ramp(shape=shape, updates=10))
    strengths = [method.strength(step) for step in range(21)]
    if method.full_strength is None:
        assert strengths == [None] * 21
        return
    assert strengths[0] == 0.0
    assert all(low < high for low, high in itertools.pairwise(strengths[:11]))
    assert strengths[10:] == [method.full_strength] * 11


def test_its_strength_is_full_from_the_first_update_without_a_ramp(make):
    method = make()
    assert method.strength(1) == method.full_strength == method.strength(10**6)


def test_its_settings_cannot_be_changed(make):
    method = make()
    for field in dataclasses.fields(method):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(method, field.name, getattr(method, field.name))


def test_equal_settings_make_equal_methods(make):
    assert make(seed=3) == make(seed=3)
    assert make(seed=3) != make(seed=4)
    assert repr(make(seed=3)) == repr(make(seed=3))


def test_it_survives_pickling_and_copying(make):
    method = make(seed=3, ramp=Ramp(shape="linear", updates=5))
    for twin in (pickle.loads(pickle.dumps(method)), copy.deepcopy(method), dataclasses.replace(method)):
        assert twin == method
        assert hash(twin) == hash(method)
        assert repr(twin) == repr(method)


def test_its_settings_are_spelled_out_in_its_repr(make):
    method = make(seed=3)
    for field in dataclasses.fields(method):
        assert f"{field.name}={getattr(method, field.name)!r}" in repr(method)


def test_it_reads_one_stream_for_each_of_its_batches(make):
    method = make()
    for rank in range(3):
        assert method.shard(rank, 3) == (list(range(method.batches_per_update)), rank, 3)


def test_a_ramp_over_a_fraction_becomes_one_in_updates_for_a_run(make):
    method = make(seed=3, ramp=Ramp(shape="linear", fraction=0.25))
    assert method.for_run(40) == make(seed=3, ramp=Ramp(shape="linear", updates=10))
    assert method.ramp.fraction == 0.25


def test_it_is_as_it_was_for_a_run_that_its_ramp_fits_in(make):
    for ramp in (Ramp(), Ramp(shape="quadratic", updates=10)):
        assert make(ramp=ramp).for_run(10) == make(ramp=ramp)


def test_repeating_an_update_repeats_its_gradient(make):
    def gradients(step):
        model, method = conv_net(), make(seed=3)
        method.backward(model, LOSS, digit_batches(method.batches_per_update), step=step)
        return {name: p.grad for name, p in model.named_parameters()}

    gradients(1)
    assert differing(gradients(2), gradients(2)) == []


def test_weights_out_of_scope_are_met_as_they_are(make):
    model, method, seen = conv_net(), make(scope=lambda name, _: name == "6.weight"), []
    before = state_of(model)

    def loss_fn(output, target):
        seen.append(differing(before, before | dict(model.named_parameters())))
        return LOSS(output, target)

    method.backward(model, loss_fn, digit_batches(method.batches_per_update), step=1)
    assert all(moved in ([], ["6.weight"]) for moved in seen)
    moves = method.full_strength and not isinstance(method, ArrayAware)  # which reads other values from its arrays
    assert seen[-1] == (["6.weight"] if moves else [])
