"""Weights are clipped after each update, wherever the update is made."""

import pytest
import torch
from support.training_examples import conv_net, differing, digit_batches, digits, state_of
from torch import nn
from torch.nn.utils import parametrizations

from aimc_robust.errors import InputError, UnknownNameError
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.config.placement import Placement
from aimc_robust.training.config import TrainingConfig
from aimc_robust.training.loop import train
from aimc_robust.training.methods.array_aware import ArrayAware
from aimc_robust.training.methods.rwp import RWP
from aimc_robust.training.methods.sgd import SGD
from aimc_robust.training.robust_optimizer import RobustOptimizer
from aimc_robust.training.weight_clipping import WeightClipping


def test_a_layer_is_clipped_at_k_standard_deviations():
    layer = nn.Linear(3, 2, dtype=torch.float64)
    weight = [[1.0, -1.0, 0.5], [7.0, 0.0, 0.0]]
    layer.weight.data = torch.tensor(weight, dtype=torch.float64)
    WeightClipping(std=2.0).apply(layer)
    s = ((1 + 1 + 0.25 + 49) / 6) ** 0.5
    assert layer.weight.tolist() == [[1.0, -1.0, 0.5], [pytest.approx(2 * s), 0.0, 0.0]]


def test_channels_have_their_own_standard_deviation():
    layer = nn.ConvTranspose2d(2, 2, 1, dtype=torch.float64)  # weight (inputs, outputs, 1, 1)
    layer.weight.data = torch.tensor([[9.0, 0.1], [-1.0, 0.5]], dtype=torch.float64)[..., None, None]
    WeightClipping(std=1.0, per="channel").apply(layer)
    first, second = (41.0**0.5, (0.26 / 2) ** 0.5)
    expected = [[first, 0.1], [-1.0, second]]
    assert layer.weight[..., 0, 0].tolist() == [pytest.approx(row) for row in expected]


def test_a_limit_is_absolute_and_leaves_all_but_weight_matrices():
    model = conv_net()
    before = state_of(model)
    WeightClipping(limit=0.05).apply(model)
    assert differing(before, state_of(model)) == ["0.weight", "6.weight"]
    assert torch.equal(model[6].weight, before["6.weight"].clamp(-0.05, 0.05))


def test_a_channel_of_one_weight_keeps_it():
    layer = nn.Conv2d(3, 3, 1, groups=3)
    before = layer.weight.clone()
    WeightClipping(std=1.0, per="channel").apply(layer)
    torch.testing.assert_close(layer.weight, before)


def test_train_and_the_optimizer_clip_after_each_update():
    clipping = WeightClipping(std=1.5)
    images, labels = digits()
    data = {"training_set": (images[:64], labels[:64]), "validation_set": (images[64:96], labels[64:96])}
    config = TrainingConfig(epochs=1, batch_size=32, weight_clipping=clipping)
    trained = train(conv_net(), RWP(sigma=0.1), config, **data).model
    model, (batch,) = conv_net(), digit_batches(1)
    robust = RobustOptimizer(torch.optim.SGD(model.parameters(), lr=0.1), model, SGD(), weight_clipping=clipping)

    def closure():
        robust.zero_grad()
        loss = nn.functional.cross_entropy(model(batch[0]), batch[1])
        loss.backward()
        return loss

    twin = conv_net()
    SGD().backward(twin, nn.CrossEntropyLoss(), [batch], step=1)
    torch.optim.SGD(twin.parameters(), lr=0.1).step()
    clipping.apply(twin)
    robust.step(closure)
    assert differing(state_of(twin), state_of(model)) == []
    for layer in (trained[0], trained[6]):
        largest = layer.weight.abs().max()
        assert (layer.weight.abs() == largest).sum() > 1  # those that were clipped in the last update


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "std or limit"),
        ({"std": 2.0, "limit": 1.0}, "std or limit"),
        ({"std": 0.0}, "std"),
        ({"limit": -1.0}, "limit"),
        ({"std": 2.0, "per": "row"}, "row"),
        ({"limit": 1.0, "per": "channel"}, "per"),
        ({"sigma": 1.0}, "sigma"),
    ],
)
def test_bad_options_are_refused(options, words):
    with pytest.raises((InputError, UnknownNameError), match=words):
        WeightClipping(**options)


def test_computed_weights_are_refused():
    with pytest.raises(InputError, match="'0'"):
        WeightClipping(std=2.0).apply(nn.Sequential(parametrizations.weight_norm(nn.Linear(3, 3))))


DIGITAL_FIRST = Placement({"0": "digital", "*": Crossbar("pcm-nandakumar2019", read_noise=False)})


@pytest.mark.parametrize(
    ("method", "clipped"),
    [
        (SGD(), ["0.weight", "6.weight"]),
        (RWP(noise=DIGITAL_FIRST), ["6.weight"]),
        (ArrayAware(DIGITAL_FIRST), ["6.weight"]),
        (ArrayAware(Crossbar("ideal"), scope=lambda name, _: name == "0.weight"), ["0.weight"]),
    ],
)
def test_layers_that_the_method_keeps_digital_are_not_clipped(method, clipped):
    clipping = WeightClipping(limit=0.05)
    model = conv_net()
    before = state_of(model)
    clipping.apply(model, method=method)
    assert differing(before, state_of(model)) == clipped
    images, labels = digits()
    data = {"training_set": (images[:64], labels[:64]), "validation_set": (images[64:96], labels[64:96])}
    config = TrainingConfig(epochs=1, batch_size=32, lr=0.0, weight_decay=0.0, weight_clipping=clipping)
    trained = train(conv_net(), method, config, **data).model
    found = dict(trained.named_parameters())
    assert [name for name in ("0.weight", "6.weight") if not torch.equal(found[name], before[name])] == clipped
