"""Checkpoints are plain safetensors, and one that does not belong to the question is refused untouched."""

import re

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.training_examples import conv_net, differing, digits, state_of
from torch import nn

from aimc_robust.errors import CheckpointError
from aimc_robust.training.config import TrainingConfig
from aimc_robust.training.loop import train
from aimc_robust.training.methods.rwp import RWP
from aimc_robust.training.methods.sgd import SGD
from aimc_robust.training.resumption import FINISHED, UNFINISHED

IMAGES, LABELS = digits()
DATA = {"training_set": (IMAGES[:80], LABELS[:80]), "validation_set": (IMAGES[80:120], LABELS[80:120])}
CONFIG = TrainingConfig(epochs=2, batch_size=40)
RECIPE = {"method": RWP(sigma=0.1), "config": CONFIG, "train_seed": 0, "data_id": "digits"}


class StopError(Exception):
    """The interruption."""


def run(folder, model=None, *, on_epoch=None, **changes):
    settings = RECIPE | changes
    method, config = settings.pop("method"), settings.pop("config")
    model = conv_net() if model is None else model
    return train(model, method, config, **DATA, **settings, folder=folder, on_epoch=on_epoch)


@pytest.fixture(params=[FINISHED, UNFINISHED])
def checkpoint(request, tmp_path):
    """The checkpoint of a finished or of an interrupted training."""

    def interrupt(row):
        raise StopError

    if request.param == FINISHED:
        run(tmp_path)
    else:
        with pytest.raises(StopError):
            run(tmp_path, on_epoch=interrupt)
    assert (tmp_path / request.param).exists()
    return tmp_path / request.param


def test_a_finished_checkpoint_loads_with_plain_safetensors(tmp_path):
    result, other = run(tmp_path), conv_net(seed=1)
    other.load_state_dict(load_file(tmp_path / FINISHED))
    assert differing(state_of(other), state_of(result.model)) == []


def wider_net():
    net = conv_net()
    net[6] = nn.Linear(96, 12)
    net.add_module("head", nn.Linear(12, 10))
    return net


def net_without_bias():
    net = conv_net()
    net[6] = nn.Linear(96, 10, bias=False)
    return net


def refused(checkpoint, model, *messages, **changes):
    """The refusal names the file and all of `messages`; the file is left as it was."""
    data = checkpoint.read_bytes()
    with pytest.raises(CheckpointError) as refusal:
        run(checkpoint.parent, model, **changes)
    for message in (re.escape(str(checkpoint)), *messages):
        assert re.search(message, str(refusal.value)), message
    assert checkpoint.read_bytes() == data


def test_a_checkpoint_of_another_model_is_refused_with_the_tensors_at_fault(checkpoint):
    fault = r"6\.weight has shape \(10, 96\), the model's has \(12, 96\)"
    refused(checkpoint, wider_net(), "another model than Sequential", r"missing head\.weight", fault)
    refused(checkpoint, net_without_bias(), r"unexpected 6\.bias")


def test_a_refused_model_is_left_as_it_was(checkpoint):
    model = conv_net(seed=1)
    before = state_of(model)
    refused(checkpoint, model, train_seed=1)
    assert differing(state_of(model), before) == []


OTHER_QUESTIONS = {
    "another strength": {"method": RWP(sigma=0.2)},
    "another method": {"method": SGD()},
    "another method seed": {"method": RWP(sigma=0.1, seed=1)},
    "another length": {"config": TrainingConfig(epochs=3, batch_size=40)},
    "another lr": {"config": TrainingConfig(epochs=2, batch_size=40, lr=0.01)},
    "another seed": {"train_seed": 1},
    "other data": {"data_id": "letters"},
}


@pytest.mark.parametrize("changes", OTHER_QUESTIONS.values(), ids=OTHER_QUESTIONS)
def test_a_checkpoint_of_another_question_is_refused(changes, checkpoint):
    refused(checkpoint, conv_net(seed=1), "another recipe", "another folder", **changes)


def test_a_checkpoint_of_another_precision_is_refused(checkpoint):
    data = {name: (images.double(), labels) for name, (images, labels) in DATA.items()}
    with pytest.raises(CheckpointError):
        train(conv_net(dtype=torch.float64), folder=checkpoint.parent, **data, **RECIPE)


DAMAGE = {
    "empty": lambda data: b"",
    "cut within the header": lambda data: data[:100],
    "cut within the tensors": lambda data: data[:-100],
    "text": lambda data: b"these are not the weights you are looking for",
    "zeros": lambda data: bytes(len(data)),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_checkpoint_is_refused(damage, checkpoint):
    checkpoint.write_bytes(damage(checkpoint.read_bytes()))
    refused(checkpoint, conv_net(seed=1), "is not a checkpoint of aimc-robust", "delete it to train again")


def test_one_flipped_bit_anywhere_is_refused(checkpoint):
    whole = checkpoint.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    number = whole.index(b'\\"loss\\": ') + len(b'\\"loss\\": 2.')  # a digit of the history
    for position in (number, header, (header + len(whole)) // 2, len(whole) - 1):
        damaged = bytearray(whole)
        damaged[position] ^= 1
        checkpoint.write_bytes(damaged)
        refused(
            checkpoint,
            conv_net(seed=1),
            "is damaged",
            "expected (metadata|weights) of checksum",
            "delete it to train again",
        )


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"aimc_robust": "{}"}])
def test_safetensors_of_another_program_are_refused(metadata, tmp_path):
    path = tmp_path / FINISHED
    save_file(state_of(conv_net()), path, metadata=metadata)
    refused(path, conv_net(seed=1), "is not a checkpoint of aimc-robust")
