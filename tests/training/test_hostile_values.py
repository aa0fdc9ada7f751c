"""Values from Python that no training can be made with: one sentence each, before any work is lost."""

from unittest.mock import sentinel

import numpy as np
import pytest
import torch
from torch import nn

import aimc_robust as ar
from aimc_robust.data.lazy import LazyImages
from aimc_robust.errors import AimcError

NAN = float("nan")
X, Y = torch.rand(24, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.arange(24) % 3
OBJECTS = np.array([object()] * 24, dtype=object)


def net(outputs=3):
    return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16), nn.Linear(16, outputs))


def train(model=None, method=None, config=None, **changes):
    data = {"training_set": (X, Y), "validation_set": (X, Y)}
    config = config or ar.TrainingConfig(epochs=1, batch_size=8)
    return ar.train(model or net(), method or ar.SGD(), config, **(data | changes))


def optimizer(**changes):
    model = net()
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    return ar.RobustOptimizer(**({"optimizer": sgd, "model": model, "method": ar.SGD()} | changes))


def backward(**changes):
    arguments = {"model": net(), "loss_fn": nn.CrossEntropyLoss(), "batches": [(X, Y)], "step": 1} | changes
    return ar.SGD().backward(**arguments)


CONFIG = [
    ({"epochs": "3"}, "epochs must be.*'3'"),
    ({"epochs": 10**400}, "epochs must be"),
    ({"lr": NAN}, "lr must be.*nan"),
    ({"lr": "0.1"}, "lr must be"),
    ({"lr": None}, "lr must be"),
    ({"lr": 1j}, "lr must be"),
    ({"lr": torch.tensor(0.1)}, "lr must be"),
    ({"early_stopping": {"sigma": 0.1}}, "early_stopping must be an EarlyStopping or None"),
    ({"early_stopping": 0.1}, "early_stopping must be an EarlyStopping or None"),
    ({"optimizer": None}, "unknown optimizer None"),
    ({"precision": 16}, "unknown precision 16"),
    ({"warmup_epochs": NAN}, "warmup_epochs must be"),
    ({"clip_norm": "1"}, "clip_norm must be"),
    ({"channels_last": 1}, "channels_last must be true or false, got 1"),
]
SIGMA = ["0.1", ["a"], None, [None], [[0.1]], [], np.array([0.1, 0.2]), True, [0.1, 0.1], [NAN]]
TRAIN = [
    ({"model": sentinel.model}, "model must be"),
    ({"model": lambda inputs: inputs}, "model must be"),
    ({"model": nn.Flatten()}, "parameters"),
    ({"model": net(2)}, r"labels run from 0 to 2, but the model has 2 outputs"),
    ({"model": nn.Sequential(net(1), nn.Flatten(0))}, r"expected the model to return .* got \(1,\)"),
    ({"method": "sgd"}, "method must be.*'sgd'"),
    ({"method": ar.SGD}, "method must be"),
    ({"config": {"epochs": 1}}, "config must be a TrainingConfig"),
    ({"train_seed": "a"}, "train_seed must be"),
    ({"train_seed": 1.5}, "train_seed must be"),
    ({"train_seed": -1}, "train_seed must be"),
    ({"folder": "results"}, r"folder must be a pathlib\.Path or None, got 'results'"),
    ({"data_id": 3}, "data_id must be"),
    ({"on_epoch": "print"}, "on_epoch must be"),
    ({"probe": "sharpness"}, "probe must be"),
    ({"fabric": ar.Machine()}, "fabric must be a launched Fabric.*Machine"),
    ({"fabric": "cpu"}, "fabric must be"),
]
DATA = [
    ((X[:0], Y[:0]), "at least one"),
    ((X, Y[:5]), "got 24 and 5"),
    ((X, Y + 1), "labels run from 1 to 3, but the model has 3 outputs"),
    ((X, Y - 1), "labels|label -1"),
    ((X, Y + 10**12), "labels"),
    ((X, Y.float()), "whole number"),
    ((X, Y.to(torch.complex64)), "labels? "),
    ((X, Y[:, None]), "label of each image"),
    ((OBJECTS, Y), "ndarray"),
    ((X.long(), Y), r"data: the model takes other .* shape \(1, 1, 4, 4\), torch\.int64"),
    ((X > 0.5, Y), r"torch\.bool"),
    ((X + 1j, Y), r"torch\.complex64"),
    ((torch.rand(24, 1, 5, 5), Y), r"shape \(1, 1, 5, 5\)"),
    ((torch.tensor(1.0), torch.tensor(1)), "must be"),
    ((X * NAN, Y), "not finite"),
    ((LazyImages(torch.zeros(24, 1, 5, 5, dtype=torch.uint8), mean=[0], std=[1]), Y), "LazyImages|takes other"),
]
CALLS = {
    "early stopping": lambda: ar.EarlyStopping(sigma=0.1, draws="5"),
    "devices": lambda: ar.Machine(devices="2"),
    "accelerator": lambda: ar.Machine(accelerator=None),
    "strategy": lambda: ar.Machine(strategy=3),
    "unknown accelerator": lambda: ar.Machine(accelerator="quantum").fabric("32-true"),
    "updates": lambda: ar.Ramp(shape="linear", updates="3"),
    "fraction": lambda: ar.Ramp(shape="linear", fraction=NAN),
    "noise": lambda: ar.RWP(noise=ar.Gaussian),
    "scope": lambda: ar.RWP(sigma=0.1, scope=3),
    "step": lambda: backward(step="1"),
    "model": lambda: backward(model=None),
    "loss_fn": lambda: backward(loss_fn=None),
    "optimizer": lambda: optimizer(optimizer="sgd"),
    "model of an optimizer": lambda: optimizer(model=None),
    "method": lambda: optimizer(method="sgd"),
    "clip_norm": lambda: optimizer(clip_norm="a"),
    "closure": lambda: optimizer().step(3),
}


def refused(function, message=None):
    with pytest.raises(AimcError, match=message) as caught:
        function()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("settings", "message"), CONFIG)
def test_settings(settings, message):
    refused(lambda: ar.TrainingConfig(**({"epochs": 1} | settings)), message)


@pytest.mark.parametrize("sigma", SIGMA, ids=str)
def test_strengths_of_early_stopping(sigma):
    refused(lambda: ar.EarlyStopping(sigma=sigma), "sigma")


@pytest.mark.parametrize(("arguments", "message"), TRAIN)
def test_arguments_of_train(arguments, message):
    refused(lambda: train(**arguments), message)


@pytest.mark.parametrize("part", ["training_set", "validation_set"])
@pytest.mark.parametrize(("data", "message"), DATA, ids=[message for _, message in DATA])
def test_data(part, data, message):
    model = net()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    refused(lambda: train(model, **{part: data}), message)
    if "finite" not in message:  # no update was made
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("name", CALLS)
def test_other_arguments(name):
    refused(CALLS[name])


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int32])
def test_labels_of_any_whole_numbers_train_alike(dtype):
    model, same, labels = net(), net(), Y % 2
    same.load_state_dict(model.state_dict())
    one = train(model, training_set=(X, labels), validation_set=(X, labels))
    other = train(same, training_set=(X, labels.to(dtype)), validation_set=(X, labels.to(dtype)))
    assert [row | {"seconds": 0} for row in one.history] == [row | {"seconds": 0} for row in other.history]


def test_the_first_look_at_the_images_changes_nothing():
    class Count(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, inputs):
            self.seen += 1
            return inputs

    model = nn.Sequential(Count(), net())
    train(model)
    assert model[0].seen == 3 + 1  # three updates and the validation
