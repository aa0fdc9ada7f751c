"""Images in channels-last format: used for networks that are known to take it, and equal up to rounding."""

import random

import numpy as np
import pytest
import torch
from support.measure import measure
from torch import nn
from torchvision.models import mobilenet_v2, shufflenet_v2_x0_5

import aimc_robust as ar
from aimc_robust.data.batches import split_batches
from aimc_robust.errors import DivergenceError
from aimc_robust.evaluation.image_format import FastestFormat
from aimc_robust.models.networks.resnet import ResNet
from aimc_robust.tasks.classification import Classification

RRAM = ar.Crossbar("rram-milo2021")
DAC = ar.DAC(bits=8, kind="sign-magnitude", full_scale=4.0)
ARRAYS = ar.Crossbar("sonos-agrawal2022", rows=64, dac=DAC, adc=ar.ADC(bits=8, range=(-9, 9)))
CONDITIONS = {"digital": None, "noise": ar.Gaussian(0.2), "weight errors": RRAM, "arrays": ARRAYS}


def images(channels=3, count=40):
    generator = torch.Generator().manual_seed(5)
    return torch.randn(count, channels, 8, 8, generator=generator), torch.arange(count) % 4


def net(channels=3):
    torch.manual_seed(1)
    layers = [nn.Conv2d(channels, 6, 3), nn.ReLU(), nn.Conv2d(6, 5, 3), nn.Flatten(), nn.Linear(80, 4)]
    return nn.Sequential(*layers).eval()


def formats(model, batches):
    """The formats of the images of each batch."""
    found = []
    for (given, labels), (as_given, its_labels) in zip(FastestFormat(batches, model), batches, strict=True):
        assert torch.equal(given, as_given)
        assert labels is its_labels
        found.append("usual" if given.is_contiguous() else "channels last")
        assert given.is_contiguous(memory_format=torch.channels_last) or found[-1] == "usual"
    return found


class OwnForward(nn.Sequential):
    """A user's network with a state, which calls Python's and NumPy's generators and notes what it gets."""

    def __init__(self):
        super().__init__(*net())
        self.seen, self.last = [], None

    def forward(self, x):
        self.seen.append(tuple(x.stride()))
        shift = 0.1 * random.random() + 0.1 * np.random.rand()
        self.last = x if self.last is None or len(self.last) != len(x) else 0.5 * (x + self.last)
        return super().forward(self.last.view(len(x), -1).view(x.shape) + shift)


@pytest.mark.parametrize("condition", CONDITIONS.values(), ids=CONDITIONS)
def test_results_are_those_of_the_usual_format(condition, monkeypatch):
    batches, seen, predict = split_batches(images(), 16), [], Classification.predict
    monkeypatch.setattr(Classification, "predict", lambda task, *given: seen.append(given[1]) or predict(task, *given))
    faster = ar.evaluate(net(), batches, condition, chips=3).table
    assert seen
    assert all(x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous() for x in seen)
    monkeypatch.setattr(FastestFormat, "__iter__", lambda self: iter(self.batches))
    usual = ar.evaluate(net(), batches, condition, chips=3).table
    assert seen[-1].is_contiguous()
    assert list(faster["accuracy"]) == list(usual["accuracy"])
    assert list(faster["loss"]) == pytest.approx(list(usual["loss"]), rel=1e-5)


@pytest.mark.parametrize("build", [mobilenet_v2, shufflenet_v2_x0_5], ids=lambda build: build.__name__)
def test_networks_of_torchvision_take_it(build):
    torch.manual_seed(0)
    model, batches = build(num_classes=4).eval(), [(torch.randn(4, 3, 32, 32), torch.arange(4))]
    assert formats(model, batches) == ["channels last"]
    assert ar.evaluate(model, batches, None).table["loss"].item() == pytest.approx(measure(model, batches)[2], rel=1e-5)


def test_networks_of_this_package_and_of_timm_take_it():
    timm = pytest.importorskip("timm")
    for model in (
        ResNet(in_channels=3, classes=4, channels=8, blocks=(1, 1)),
        timm.create_model("resnet10t", num_classes=4),
    ):
        assert formats(model.eval(), [(torch.randn(4, 3, 32, 32), torch.arange(4))]) == ["channels last"]


def test_a_users_own_network_gets_images_as_they_are_once_and_no_generator_is_touched():
    model, batches = OwnForward().eval(), split_batches(images(), 20)
    random.seed(0), np.random.seed(0)
    expected = [random.random(), np.random.rand()]
    random.seed(0), np.random.seed(0)
    assert formats(model, batches) == ["usual", "usual"]
    assert (model.seen, model.last) == ([], None)
    assert [random.random(), np.random.rand()] == expected


def test_hooks_and_replaced_functions_are_a_users_code():
    hooked, replaced = net(), net()
    hooked[1].register_forward_hook(lambda module, inputs, output: output.view(-1).view(output.shape))
    replaced[0].forward = lambda x: nn.functional.conv2d(x.view(-1).view(x.shape), net()[0].weight)
    for model in (hooked, replaced):
        assert formats(model, [images()]) == ["usual"]


def test_what_would_not_be_faster_or_might_crash_is_left_alone():
    assert formats(net(channels=1), [images(channels=1)]) == ["usual"]
    narrow = nn.Sequential(nn.Conv2d(3, 1, 3), nn.Conv2d(1, 4, 6), nn.Flatten())
    assert formats(narrow, [images()]) == ["usual"]
    assert formats(nn.Sequential(nn.Flatten(), nn.Linear(192, 4)), [images()]) == ["usual"]


def test_outputs_that_are_maps_stay_as_a_metric_may_view_them():
    autoencoder = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 3, 3, padding=1))
    x, _ = images()
    metrics = {"deviation": lambda outputs, labels: float((outputs.view(-1) - labels.view(-1)).abs().mean())}
    table = ar.evaluate(autoencoder.eval(), [(x, x)], RRAM, chips=2, task="regression", metrics=metrics).table
    assert (table["deviation"] > 0).all()


def test_an_empty_first_batch_and_weights_that_are_not_finite_are_met_as_before():
    x, labels = images()
    whole = ar.evaluate(net(), [(x, labels)], None).table
    parts = ar.evaluate(net(), [(x[:0], labels[:0]), (x, labels)], None).table
    assert list(parts["accuracy"]) == list(whole["accuracy"])
    broken = net()
    broken[0].weight.data[0] = torch.nan
    with pytest.raises(DivergenceError, match="digital weights: the model returned NaN"):
        ar.evaluate(broken, [(x, labels)], None)


def test_a_pass_over_the_data_is_no_more_than_one():
    class Counted(list):
        passes = 0

        def __iter__(self):
            self.passes += 1
            return super().__iter__()

    batches = Counted([images()])
    assert formats(net(), batches) == ["channels last"]
    assert batches.passes == 2  # with that of `formats`


def test_the_number_of_processes_does_not_matter():
    one = ar.evaluate(net(), [images()], ARRAYS, chips=4, jobs=1).table
    two = ar.evaluate(net(), [images()], ARRAYS, chips=4, jobs=2).table
    assert one.equals(two)
