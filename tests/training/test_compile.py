"""A compiled model is compiled as often as plain SGD compiles it: never again as sigma, rho or the update change."""

import pytest
import torch
from support.training_examples import conv_net, digit_batches, state_of
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

from aimc_robust.training.methods.ramp import Ramp
from aimc_robust.training.methods.rwp import RWP, MixedRWP
from aimc_robust.training.methods.sam import SAM, AdaptiveSAM
from aimc_robust.training.methods.sgd import SGD

LOSS = nn.CrossEntropyLoss()
RAMP = Ramp(shape="quadratic", updates=10)  # another strength at every update
METHODS = {
    "sam": SAM(rho=0.5, ramp=RAMP),
    "sam, perturbed statistics": SAM(rho=0.5, ramp=RAMP, bn_stats="perturbed"),
    "sam, different batches": SAM(rho=0.5, ramp=RAMP, batches="different"),
    "asam": AdaptiveSAM(rho=0.5, ramp=RAMP),
    "rwp": RWP(sigma=0.1, ramp=RAMP),
    "rwp, two draws": RWP(sigma=0.1, ramp=RAMP, draws=2),
    "m-rwp": MixedRWP(sigma=0.1, ramp=RAMP),
}
UPDATES = 5


@pytest.fixture(autouse=True)
def _nothing_compiled_before():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def train(method, model, updates=UPDATES, *, autocast=False):
    """Weights after a loop in which strength, step and learning rate change at every update."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
    batches = digit_batches(updates + 1, dtype=next(model.parameters()).dtype)
    for t in range(updates):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            method.backward(model, LOSS, batches[t : t + method.batches_per_update], step=t + 1)
        optimizer.step()
        scheduler.step()


def compilations(method, model, **options):
    """How often a loop of UPDATES compiles; a recompilation raises."""
    counter = CompileCounterWithBackend("aot_eager")
    with torch._dynamo.config.patch(error_on_recompile=True):
        train(method, torch.compile(model, backend=counter, fullgraph=True), **options)
    return counter.frame_count


@pytest.mark.slow
@pytest.mark.parametrize("method", [SGD(), *METHODS.values()], ids=["sgd", *METHODS])
def test_a_compiled_model_is_trained_as_the_plain_one_and_compiles_once(method):
    plain, model = conv_net(dtype=torch.float64), conv_net(dtype=torch.float64)
    train(method, plain)
    assert compilations(method, model) == 1
    expected = state_of(plain)
    for name, value in state_of(model).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-9, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sam", "m-rwp"])
def test_a_method_compiles_once_under_autocast(name):
    assert compilations(METHODS[name], conv_net(), autocast=True) == 1


@pytest.mark.slow
def test_a_compilation_too_many_would_be_seen():
    class Counts(nn.Sequential):
        calls = 0

        def forward(self, inputs):
            self.calls += 1
            return super().forward(inputs) * self.calls

    counter = CompileCounterWithBackend("aot_eager")
    train(SGD(), torch.compile(Counts(*conv_net()), backend=counter), updates=3)
    assert counter.frame_count > 1


def test_a_model_compiled_in_place_is_trained_as_the_plain_one():
    plain, model = conv_net(dtype=torch.float64), conv_net(dtype=torch.float64)
    model.compile(backend="aot_eager")
    for each in (plain, model):
        train(MixedRWP(sigma=0.1), each, updates=2)
    torch.testing.assert_close(model[0].weight, plain[0].weight, rtol=1e-9, atol=1e-12)
