"""Distillation and pretrained weights in a spec."""

import pytest

from aimc_robust.errors import InputError
from aimc_robust.experiments.spec.loading import load_spec
from aimc_robust.tasks.distillation import Distillation


def with_keys(write_spec, **keys):
    changes = [f"{name}={value}" for name, value in keys.items()]
    return lambda: load_spec(write_spec(), overrides=[change.replace("__", ".") for change in changes])


def test_its_keys_are_those_of_distillation(write_spec):
    load = with_keys(
        write_spec, model__weights="start.safetensors", training__distillation="{ temperature = 4.0, weight = 0.9 }"
    )
    spec = load()
    assert spec.config_of("sgd").distillation == Distillation(temperature=4.0, weight=0.9)
    assert type(spec).model_validate(spec.model_dump()).config_of("sgd") == spec.config_of("sgd")
    plain = with_keys(write_spec, model__weights="start.safetensors")()
    assert spec.recipe("sgd", 0) != plain.recipe("sgd", 0) != load_spec(write_spec()).recipe("sgd", 0)
    other = with_keys(write_spec, training__distillation='{ teacher = "teacher.safetensors" }')()
    assert other.config_of("sgd").distillation.teacher == "teacher.safetensors"


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"training__distillation": "{ weight = 0.5 }"}, r"model\.weights"),
        ({"training__distillation": "{ weight = 2.0 }"}, "weight"),
        ({"training__distillation": "0.5"}, "distillation"),
        ({"training__distillation": '{ task = "regression" }'}, "task"),
        ({"model__weights": "3"}, "weights"),
    ],
)
def test_mistakes_are_told(write_spec, keys, words):
    with pytest.raises(InputError, match=words):
        with_keys(write_spec, **keys)()
