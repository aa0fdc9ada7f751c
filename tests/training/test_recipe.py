"""One fingerprint tells whether two trainings are the same, in a checkpoint and in the folder of shared models."""

import json
from dataclasses import replace
from functools import partial

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


LAYER = "0"


def scope_of(prefix):
    return lambda name, parameter: name.startswith(prefix)


def starts(name, parameter):
    return name.startswith(LAYER)


class Prefix:
    def __init__(self, prefix):
        self.prefix = prefix

    def chosen(self, name, parameter):
        return name.startswith(self.prefix)


PAIRS = {
    "constant": (lambda n, p: n.startswith("0"), lambda n, p: n.startswith("4")),
    "name": (lambda n, p: n.startswith("0"), lambda n, p: n.endswith("0")),
    "closure": (scope_of("0"), scope_of("4")),
    "default": (lambda n, p, prefix="0": n.startswith(prefix), lambda n, p, prefix="4": n.startswith(prefix)),
    "nested": (lambda n, p: any(c == "0" for c in n), lambda n, p: any(c == "4" for c in n)),
    "set": (lambda n, p: n in {"0.weight", "1.weight"}, lambda n, p: n in {"0.weight", "2.weight"}),
    "partial": (partial(str.startswith, "0"), partial(str.startswith, "4")),
    "tensor": (scope_of(torch.tensor(1.0)), scope_of(torch.tensor(1.00001))),
    "method": (Prefix("0").chosen, Prefix("4").chosen),
}


def with_scope(scope):
    return recipe_fingerprint(**RECIPE | {"method": RWP(sigma=0.1, scope=scope)})


@pytest.mark.parametrize(("first", "second"), PAIRS.values(), ids=PAIRS)
def test_functions_of_one_name_differ_by_their_code_and_what_they_use(first, second):
    assert with_scope(first) == with_scope(first)
    assert with_scope(first) != with_scope(second)


def test_functions_of_equal_code_and_values_are_equal():
    assert with_scope(scope_of("0")) == with_scope(scope_of("0"))
    assert with_scope(Prefix("0").chosen) == with_scope(Prefix("0").chosen)


def test_a_function_differs_by_the_globals_that_it_uses(monkeypatch):
    first = with_scope(starts)
    monkeypatch.setitem(globals(), "LAYER", "4")
    assert with_scope(starts) != first


def test_a_function_that_calls_itself_has_a_fingerprint():
    def again(name, parameter):
        return bool(name) and again(name[1:], parameter)

    assert with_scope(again) == with_scope(again)


def test_fingerprints_of_functions_are_equal_in_every_process(other_process):
    assert other_process["fingerprints"] == [with_scope(scope) for scope in SAME]


SAME = [*(pair[0] for pair in PAIRS.values()), starts]
