"""Data that a function of the user's own returns or yields."""

from pathlib import Path

import pytest
import torch
from support import user_data

from aimc_robust.data.evaluation_images import load_evaluation_images
from aimc_robust.data.examples import Examples
from aimc_robust.data.loading import load_data
from aimc_robust.data.spec import DataSpec
from aimc_robust.errors import AimcError, DataError, InputError
from aimc_robust.tasks.model_score import ModelScore


@pytest.fixture(autouse=True)
def _data_are_importable(monkeypatch):
    monkeypatch.syspath_prepend(user_data.__file__.rpartition("/")[0])


def load(name, task=None, seed=0, **options):
    spec = DataSpec(name=f"user_data:{name}", options=options, validation_share=0.25)
    return load_data(spec, data_seed=seed, folder=Path(), task=task)


def test_batches_are_joined_in_order(monkeypatch):
    batches = {split: user_data.linear(split) for split in ("training", "validation", "test")}
    monkeypatch.setattr("user_data.linear", lambda split: batches[split])
    data = load("linear", "regression")
    for split in batches:
        for part in (0, 1):
            assert torch.equal(data.split(split)[part], torch.cat([batch[part] for batch in batches[split]]))
    assert (data.shape, data.outputs) == ((5,), 1)


def test_a_function_is_called_once_for_each_split_with_its_options(monkeypatch):
    import user_data as module

    calls, function = [], module.linear
    monkeypatch.setattr(module, "linear", lambda split, **options: calls.append((split, options)) or function(split))
    load("linear", "regression", examples=20)
    assert calls == [(split, {"examples": 20}) for split in ("training", "validation", "test")]


def test_without_validation_some_training_examples_are_held_out():
    data = load("linear", "regression", examples=40, has_validation=False)
    assert [len(part[1]) for part in (data.training, data.validation, data.test)] == [30, 10, 40]


def test_the_seed_decides_random_data_and_the_global_generator_stays():
    before = torch.get_rng_state()
    one, same, other = (load("linear", "regression", seed=seed) for seed in (0, 0, 1))
    assert one.id == same.id != other.id
    assert torch.equal(torch.get_rng_state(), before)


def test_mappings_of_arrays_are_several_inputs():
    data = load("several_labels", "multilabel")
    inputs, labels = data.training
    assert {key: (tuple(value.shape), value.dtype) for key, value in inputs.items()} == {
        "a": ((60, 4), torch.float32),
        "b": ((60, 4), torch.float32),
    }
    assert (data.shape, data.outputs, labels.shape) == (None, 3, (60, 3))
    assert data.example["a"].shape == (2, 4)
    assert [len(batch["b"]) for batch in data.calibration_batches()] == [60]
    (inputs, labels), *_ = data.training_set(None).epoch(1, batch_size=16)
    assert isinstance(data.training_set(None), Examples)
    assert (len(inputs["a"]), len(inputs["b"]), len(labels)) == (16, 16, 16)


def test_tokens_are_their_own_labels():
    data = load("tokens", "language-modelling", vocabulary=7)
    assert data.outputs == 7
    inputs, labels = next(iter(data.batches("test", 5)))
    assert torch.equal(inputs["input_ids"], labels)
    assert labels.shape == (5, 8)


def test_a_class_is_built_with_the_options():
    data = load("Constant", value=3.0)
    assert data.outputs == 2
    assert float(data.training[0].mean()) == 3.0


def test_a_score_of_the_whole_model_gets_the_batches_as_they_are():
    task = ModelScore(score=lambda model, batches: {"map": 1.0}, metric="map")
    data = load_evaluation_images("user_data:boxes", task=task)
    assert data.count == 6
    (images, targets), *_ = data.batches("test", 500)
    assert [tuple(image.shape) for image in images] == [(3, 8, 8), (3, 8, 9)]
    assert set(targets[0]) == {"boxes"}
    with pytest.raises(InputError, match="--images 2"):
        load_evaluation_images("user_data:boxes", task=task, images=2)


def test_an_evaluation_calibrates_on_training_examples_where_there_are_any():
    found = load_evaluation_images("user_data:linear", task="regression")
    assert (found.count, found.training, found.calibration_source) == (60, None, "training examples")
    with pytest.raises(InputError, match="--normalize"):
        load_evaluation_images("user_data:linear", task="regression", normalize="none")


FAULTS = {
    "failing": ["raised RuntimeError: the disk is gone", "'training'"],
    "empty": ["got none", "'training'"],
    "number": ["raised TypeError"],
    "unequal": ["one row for each example", "[3, 4]"],
    "unlabelled": ["labels", "input_ids"],
    "mixed": ["torch.float32", "torch.float64"],
    "ragged": ["(3, 5)", "(3, 7)", "Pad"],
    "nothing": ["no function nothing"],
    "boxes": ["None", "'training'"],
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_cannot_be_joined_is_refused_with_the_function(name):
    task = "language-modelling" if name == "ragged" else None
    with pytest.raises(AimcError) as caught:
        load(name, task)
    assert [word for word in [f"user_data:{name}", *FAULTS[name]] if word not in str(caught.value)] == []


def test_an_unknown_option_is_refused():
    with pytest.raises(InputError, match="unexpected keyword argument 'length'"):
        load("linear", "regression", length=3)


def test_a_class_that_no_training_example_has_is_refused(monkeypatch):
    import user_data as module

    labels = {"training": torch.tensor([0, 1]), "validation": torch.tensor([1, 0]), "test": torch.tensor([2, 0])}
    monkeypatch.setattr(module, "empty", lambda split: (torch.zeros(2, 3), labels[split]))
    with pytest.raises(DataError, match=r"class 2 .*0 to 1"):
        load("empty")
