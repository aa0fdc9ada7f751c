"""Images in channels-last format: used where it is faster, equal up to rounding, and never where a model errs on it."""

from typing import ClassVar

import pytest
import torch
from support.measure import measure
from torch import nn
from torchvision.models import mobilenet_v2

import aimc_robust as ar
from aimc_robust.errors import DataError
from aimc_robust.evaluation.image_format import ChannelsLast, in_fastest_format
from aimc_robust.tasks.classification import Classification

RRAM = ar.Crossbar("rram-milo2021")
DAC = ar.DAC(bits=8, kind="sign-magnitude", full_scale=4.0)
ARRAYS = ar.Crossbar("sonos-agrawal2022", rows=64, dac=DAC, adc=ar.ADC(bits=8, range=(-9, 9)))
CONDITIONS = {"digital": None, "noise": ar.Gaussian(0.2), "weight errors": RRAM, "arrays": ARRAYS}


def images(channels=3, count=40):
    generator = torch.Generator().manual_seed(5)
    return torch.randn(count, channels, 8, 8, generator=generator), torch.arange(count) % 4


def flat(x):
    return x.flatten(1)


def view(x):
    return x.view(len(x), -1)


def as_it_lies(x):
    return x.as_strided((len(x), 80), (80, 1))


class Net(nn.Module):
    """Two convolutions; `flatten` is how the model takes the last one's outputs. Notes the formats of its inputs."""

    formats: ClassVar[set[str]] = set()

    def __init__(self, flatten=flat, channels=3):
        super().__init__()
        torch.manual_seed(1)
        self.first, self.second = nn.Conv2d(channels, 6, 3), nn.Conv2d(6, 5, 3)
        self.head, self.flatten = nn.Linear(80, 4), flatten

    def forward(self, x):
        if len(x) > 2:  # not while it is tried
            Net.formats.add("usual" if x.is_contiguous() else "channels last")
        return self.head(self.flatten(self.second(self.first(x).relu())))


@pytest.fixture(autouse=True)
def formats():
    Net.formats.clear()
    return Net.formats


@pytest.mark.parametrize(
    "condition", [None, ar.Gaussian(0.2), RRAM, ARRAYS], ids=["digital", "noise", "rram", "arrays"]
)
def test_images_are_in_channels_last_format_and_results_equal_those_of_others(condition, formats):
    estimate = ar.evaluate(Net(), [images()], condition, chips=3)
    assert formats == {"channels last"}
    usual = ar.evaluate(Net(view), [images()], condition, chips=3)
    assert list(estimate.table["accuracy"]) == list(usual.table["accuracy"])
    assert list(estimate.table["loss"]) == pytest.approx(list(usual.table["loss"]), rel=1e-5)


def test_a_network_of_torchvision_gets_this_format_and_its_numbers_are_the_same():
    torch.manual_seed(0)
    model = mobilenet_v2(num_classes=4).eval()
    batches = [(torch.randn(4, 3, 32, 32), torch.arange(4))]
    faster = in_fastest_format(model, batches, Classification())
    assert isinstance(faster, ChannelsLast)
    ((converted, labels),) = faster
    assert converted.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(converted, batches[0][0])
    assert torch.equal(labels, batches[0][1])
    assert ar.evaluate(model, batches, None).table["loss"].item() == pytest.approx(measure(model, batches)[2], rel=1e-5)


@pytest.mark.parametrize("flatten", [view, as_it_lies], ids=["raises", "errs without a word"])
def test_a_model_that_needs_the_usual_format_gets_it(flatten, formats):
    table = ar.evaluate(Net(flatten), [images()], RRAM, chips=2).table
    assert formats == {"usual"}
    expected = ar.evaluate(Net(), [images()], RRAM, chips=2).table
    assert list(table["accuracy"]) == list(expected["accuracy"])
    assert list(table["loss"]) == pytest.approx(list(expected["loss"]), rel=1e-5)


def test_what_would_not_be_faster_or_might_crash_is_left_alone():
    task = Classification()
    flat = [(torch.randn(8, 5), torch.arange(8) % 4)]
    assert in_fastest_format(nn.Linear(5, 4), flat, task) is flat
    gray = [images(channels=1)]
    assert in_fastest_format(Net(channels=1), gray, task) is gray
    narrow = nn.Sequential(nn.Conv2d(3, 1, 3), nn.Conv2d(1, 4, 6), nn.Flatten())
    colored = [images()]
    assert in_fastest_format(narrow, colored, task) is colored
    on_meta = Net().to("meta")
    assert in_fastest_format(on_meta, colored, task) is colored


def test_trying_it_leaves_random_numbers_and_buffers_as_they_were():
    class Noisy(Net):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x):
            self.calls += 1
            return super().forward(x + 0.1 * torch.randn(x.shape[1:]))

    model, colored = Noisy().eval(), [images()]
    before = torch.get_rng_state()
    assert isinstance(in_fastest_format(model, colored, Classification()), ChannelsLast)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.calls == 0


def test_the_format_does_not_depend_on_errors_of_the_data_which_the_evaluation_names():
    with pytest.raises(DataError, match="at least one batch"):
        ar.evaluate(Net(), [], RRAM, chips=2)
    with pytest.raises(DataError, match="labels"):
        ar.evaluate(Net(), [(images()[0], torch.full((40,), 9))], RRAM, chips=2)


def test_the_number_of_processes_does_not_matter():
    one = ar.evaluate(Net(), [images()], ARRAYS, chips=4, jobs=1).table
    two = ar.evaluate(Net(), [images()], ARRAYS, chips=4, jobs=2).table
    assert one.equals(two)
