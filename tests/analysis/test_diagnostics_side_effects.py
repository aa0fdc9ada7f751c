"""Diagnostics leave no trace in the training that they watch."""

import pytest
import torch
from support.diagnostics_cases import KEYS, LOSS, images, method_of, net, probe, small
from torch import nn

from aimc_robust.analysis.diagnostics import Diagnostics
from aimc_robust.errors import InputError
from aimc_robust.hardware.config.converters import DAC
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.models.checkpoint import read_metadata
from aimc_robust.training.config import TrainingConfig
from aimc_robust.training.loop import train
from aimc_robust.training.methods.array_aware import ArrayAware
from aimc_robust.training.methods.learned_ranges import LearnedRanges
from aimc_robust.training.methods.ramp import Ramp
from aimc_robust.training.methods.range_state import learned_ranges
from aimc_robust.training.methods.registry import METHODS
from aimc_robust.training.methods.rwp import MixedRWP
from aimc_robust.training.methods.sam import SAM


class Restless(nn.ReLU):
    """Changes a buffer and draws a random number at every pass, in evaluation mode too."""

    def __init__(self):
        super().__init__()
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, inputs):
        self.passes += 1
        return super().forward(inputs) + 1e-3 * torch.rand(())


def state_of(model):
    """All that a probe could disturb, as it is now."""
    tensors = {name: (value, value.clone()) for name, value in model.state_dict(keep_vars=True).items()}
    gradients = [(p.grad, None if p.grad is None else p.grad.clone()) for p in model.parameters()]
    return tensors, gradients, [m.training for m in model.modules()], torch.get_rng_state()


@pytest.mark.parametrize("name", METHODS)
def test_the_model_its_gradients_modes_and_the_generators_are_left_bit_for_bit(name):
    model = net(torch.float32).to(memory_format=torch.channels_last).eval()
    model[2] = Restless().eval()
    model[0].bias.requires_grad_(False)
    model[5].train()
    LOSS(model(images(8, 2, torch.float32)[0]), images(8, 2)[1]).backward()
    model[1].bias.grad = None
    before = state_of(model)
    data = images(24, 0, torch.float32)
    Diagnostics(small(), training=data, test=data, loss_fn=LOSS)(model, method_of(name), 5)
    after = state_of(model)
    for key, (tensor, value) in before[0].items():
        assert after[0][key][0] is tensor
        assert torch.equal(after[0][key][1], value), key
    for (gradient, value), (now, _) in zip(before[1], after[1], strict=True):
        assert now is gradient
        assert value is None or torch.equal(now, value)
    assert after[2] == before[2]
    assert torch.equal(after[3], before[3])


@pytest.mark.gpu
@pytest.mark.parametrize("name", METHODS)
def test_on_a_gpu_the_numbers_are_the_same_and_its_generator_is_left_alone(name, accelerator):
    rng = torch.get_device_module(accelerator)
    model, ramp = net(dropout=0.0).eval(), {} if name == "sgd" else {"ramp": Ramp(shape="linear", updates=9)}
    expected, with_dropout = probe()(model, method_of(name, **ramp), 5), net(dropout=0.5).to(accelerator)
    before = rng.get_rng_state()
    measured = probe()(model.to(accelerator), method_of(name, **ramp), 5)
    if name in ("rwp", "m-rwp", "array-aware"):  # they draw their own perturbations on the device
        drawn = {"gradient_norm", "gradient_sharpness", "gradient_cosine", "full_strength_loss"}
        expected = {key: value for key, value in expected.items() if key not in drawn}
        measured = {key: value for key, value in measured.items() if key not in drawn}
    undefined = {key for key, value in expected.items() if value is None}
    assert {key for key, value in measured.items() if value is None} == undefined
    for key in expected.keys() - undefined:
        assert measured[key] == pytest.approx(expected[key], rel=1e-6), key
    probe()(with_dropout, method_of(name), 5)
    assert torch.equal(rng.get_rng_state(), before)


def test_the_first_of_several_processes_measures_alone(monkeypatch):
    """The others wait elsewhere: a message to them would never be answered."""
    methods = [*[method_of(name) for name in METHODS], MixedRWP(sigma=0.1, parallel=True)]
    expected = [probe()(net(), method, 5) for method in methods]
    assert (
        expected[-1] == expected[list(METHODS).index("m-rwp")]
    )  # a parallel m-RWP is measured as what it is, a mix of both passes
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 0)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    for message in ("all_reduce", "broadcast", "all_gather", "barrier"):
        monkeypatch.setattr(torch.distributed, message, lambda *_, **__: pytest.fail("a message to other processes"))
    assert [probe()(net(), method, 5) for method in methods] == expected


def test_wrappers_around_the_model_change_nothing():
    assert probe()(nn.DataParallel(net()), SAM(rho=0.1), 5) == probe()(net(), SAM(rho=0.1), 5)


def test_all_is_put_back_when_a_measurement_fails():
    calls = []

    def failing(outputs, labels):
        calls.append(1)
        if len(calls) > 40:
            raise RuntimeError("full")
        return LOSS(outputs, labels)

    model = net().eval()
    before = state_of(model)
    watching = Diagnostics(small(), training=images(24, 0), test=images(20, 1), loss_fn=failing)
    with pytest.raises(RuntimeError, match="full"):
        watching(model, SAM(rho=0.1), 1)
    after = state_of(model)
    assert all(torch.equal(after[0][key][1], value) for key, (_, value) in before[0].items())
    assert after[2] == before[2]
    assert torch.equal(after[3], before[3])


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_training_is_bitwise_the_same_with_and_without_diagnostics(name, tmp_path):
    data, ends = images(48, 0, torch.float32), []
    watching = Diagnostics(small(), training=data, test=images(20, 1, torch.float32), loss_fn=LOSS)
    ramp = {} if name == "sgd" else {"ramp": Ramp(shape="linear", fraction=0.7)}
    for number, look in enumerate((None, watching)):
        model, folder = net(torch.float32), tmp_path / str(number)
        recipe = {"training_set": data, "validation_set": images(16, 2, torch.float32), "folder": folder}
        config = TrainingConfig(epochs=3, batch_size=16, channels_last=True)
        trained = train(model, method_of(name, **ramp), config, **recipe, probe=look)
        ends.append(read_metadata(folder / "checkpoint.safetensors")["weights"])
    assert ends[0] == ends[1]
    assert all(set(row) >= KEYS | {"probe_seconds", "distance", "strength"} for row in trained.history)
    # A finished training is loaded, whether it is watched or not.
    model = net(torch.float32)
    recipe["folder"] = tmp_path / "0"
    assert not set(train(model, method_of(name, **ramp), config, **recipe, probe=watching).history[0]) & KEYS


def test_learned_ranges_are_left_as_they_are():
    model, data = net(torch.float32), images(24, 0, torch.float32)
    method = ArrayAware(Crossbar("ideal", dac=DAC(bits=4)), ranges=LearnedRanges(init_batches=1, decay=0.1))
    measure = Diagnostics(small(), training=data, test=data, loss_fn=LOSS)
    measure(model, method, 1)
    with pytest.raises(InputError, match="no ranges were learned"):
        learned_ranges(model)
    method.backward(model, LOSS, [data], step=1)
    before = learned_ranges(model)
    measure(model, method, 1)
    assert learned_ranges(model) == before
