"""One fingerprint tells whether two trainings are the same, in a checkpoint and in the folder of shared models."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from aimc_robust.data.augmentation import Augmentation
from aimc_robust.experiments.spec.loading import load_spec
from aimc_robust.training import loop
from aimc_robust.training.config import TrainingConfig
from aimc_robust.training.methods.rwp import RWP
from aimc_robust.training.methods.sgd import SGD
from aimc_robust.training.recipe import fingerprint, recipe_fingerprint

RECIPE = {
    "network": nn.Linear(3, 2),
    "data": "images",
    "method": RWP(sigma=0.1),
    "config": TrainingConfig(epochs=2),
    "augmentation": Augmentation(),
    "train_seed": 0,
}


def test_equal_recipes_have_equal_fingerprints_whatever_the_weights():
    same = RECIPE | {"network": nn.Linear(3, 2), "method": RWP(sigma=0.1), "config": TrainingConfig(epochs=2)}
    assert recipe_fingerprint(**RECIPE) == recipe_fingerprint(**same)
    explicit = same | {"config": TrainingConfig(epochs=2, batch_size=128), "augmentation": Augmentation(crop=0)}
    assert recipe_fingerprint(**RECIPE) == recipe_fingerprint(**explicit)  # defaults that are written out


@pytest.mark.parametrize(
    "change",
    [
        {"network": nn.Linear(3, 4)},
        {"network": nn.Linear(3, 2).to(torch.float64)},
        {"data": "other images"},
        {"method": RWP(sigma=0.2)},
        {"method": RWP(sigma=0.1, seed=1)},
        {"method": SGD()},
        {"config": TrainingConfig(epochs=3)},
        {"augmentation": Augmentation(crop=1)},
        {"train_seed": 1},
    ],
)
def test_whatever_changes_the_result_changes_the_fingerprint(change):
    assert recipe_fingerprint(**RECIPE) != recipe_fingerprint(**RECIPE | change)


def test_checkpoint_and_shared_model_ask_for_the_same_method_config_and_augmentation(write_spec, monkeypatch, tmp_path):
    from aimc_robust.experiments.spec import comparison

    asked: list[dict] = []
    names = [*RECIPE, "task"]  # the task has a default
    for module in (loop, comparison):
        monkeypatch.setattr(
            module,
            "recipe_fingerprint",
            lambda *recipe: asked.append(dict(zip(names, recipe, strict=False))) or "x",
        )
    spec = load_spec(write_spec(("epochs = 3", "epochs = 1")))
    spec.recipe("m-rwp", 0)
    inputs, labels = torch.rand(40, 1, 8, 8), torch.arange(40) % 10
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    method, config = spec.method("m-rwp", seed=0), spec.config_of("m-rwp")
    sets = {"training_set": (inputs, labels), "validation_set": (inputs, labels)}
    loop.train(network, method, config, **sets, folder=tmp_path / "run")
    key, checkpoint = asked
    assert key["config"] == checkpoint["config"] == config
    assert key["augmentation"] == checkpoint["augmentation"]
    assert replace(checkpoint["method"], ramp=method.ramp) == key["method"] == method
    assert key["train_seed"] == checkpoint["train_seed"]


def test_a_fingerprint_of_plain_values_does_not_depend_on_the_order_of_keys():
    values = {"b": [1, {"d": 2, "c": 3}], "a": None}
    assert fingerprint(values) == fingerprint(json.loads(json.dumps(values, sort_keys=True)))
    assert fingerprint(values) != fingerprint(values | {"a": 0})
