"""Which weights a question is about, and what makes it the same question."""

import pytest
from support.evaluation_cases import evaluation_inputs

from aimc_robust.errors import InputError
from aimc_robust.experiments.spec.evaluation import EvaluationSpec, parse_models, split_argument
from aimc_robust.io.toml import parse
from aimc_robust.models.weight_selection import WeightSelection


@pytest.mark.parametrize(
    ("argument", "label", "path"),
    [
        ("rwp.safetensors", "rwp", "rwp.safetensors"),
        ("mine=a/b.pt", "mine", "a/b.pt"),
        ("runs/sgd-seed0/checkpoint.safetensors", "sgd", "runs/sgd-seed0/checkpoint.safetensors"),
        ("runs/x/Best.pt", "x", "runs/x/Best.pt"),
        ("runs/a=b/net.pt", "net", "runs/a=b/net.pt"),
        ("my net (2).pt", "my-net--2-", "my net (2).pt"),
        ("_x.pt", "x", "_x.pt"),
        ("rwp.v2.pt", "rwp.v2", "rwp.v2.pt"),
        ("timm/model_best.pth.tar", "timm", "timm/model_best.pth.tar"),
        ("checkpoint-12.pth.tar", "checkpoint-12", "checkpoint-12.pth.tar"),
        ("bert/model.safetensors.index.json", "bert", "bert/model.safetensors.index.json"),
        ("runs/rwp-seed0/", "rwp", "runs/rwp-seed0"),
        ("rwp=runs/a", "rwp", "runs/a"),
    ],
)
def test_the_label_is_given_or_is_the_files_name_or_its_folders(argument, label, path):
    named, _, file = split_argument(argument)
    assert (named, str(file)) == (label, path)


def test_checkpoints_of_a_comparison_keep_their_models_and_seeds():
    files = [f"out/runs/{name}/checkpoint.safetensors" for name in ("rwp-seed2", "sgd-seed0", "rwp-seed0")]
    models = parse_models([*files, "rwp=other.pt", "m-seed1.pt"], ["v", "w", "x", "y", "z"])
    assert [str(model.trial) for model in models] == ["rwp-seed2", "sgd-seed0", "rwp-seed0", "rwp-seed1", "m-seed1"]
    with pytest.raises(InputError, match=r"a/rwp-seed0/best\.pt and b/rwp-seed0/best\.pt are both rwp-seed0.*LABEL"):
        parse_models(["a/rwp-seed0/best.pt", "b/rwp-seed0/best.pt"], ["x", "y"])


def test_a_label_given_again_is_another_seed_of_the_same_recipe():
    models = parse_models(["a=1.pt", "b=2.pt", "a=3.pt"], ["x", "y", "z"])
    assert [(model.label, model.seed, model.file, model.id) for model in models] == [
        ("a", 0, "1.pt", "x"),
        ("b", 0, "2.pt", "y"),
        ("a", 1, "3.pt", "z"),
    ]
    assert [str(model.trial) for model in models] == ["a-seed0", "b-seed0", "a-seed1"]


def test_the_same_weights_twice_under_one_label_are_refused_whatever_the_file_is_called():
    with pytest.raises(InputError, match=r"2\.pt.*'a'"):
        parse_models(["a=1.pt", "a=2.pt"], ["x", "x"])
    assert len(parse_models(["a=1.pt", "b=1.pt"], ["x", "x"])) == 2


@pytest.mark.parametrize("argument", ["digital=w.pt", "-a=w.pt", "a b=w.pt", "=w.pt", f"{'a' * 81}=w.pt"])
def test_a_label_that_cannot_head_a_table_is_refused_with_an_example(argument):
    with pytest.raises(InputError, match="LABEL=FILE"):
        parse_models([argument], ["x"])


@pytest.fixture
def question(files, evaluation_images):
    return evaluation_inputs([str(files / "exact.safetensors")], evaluation_images)[0]


@pytest.mark.parametrize("change", [{"chips": 99}, {"precision": 0.5}, {"threshold": 90.0}])
def test_more_chips_a_precision_or_a_threshold_are_the_same_question(question, change):
    assert question.model_copy(update=change).identity() == question.identity()


def test_weights_and_images_that_moved_or_are_named_otherwise_are_the_same_question(question):
    models = [model.model_copy(update={"file": "elsewhere.pt"}) for model in question.models]
    images = question.images.model_copy(update={"name": "npz:elsewhere.npz", "normalization": "in other words"})
    change = {"models": models, "images": images, "selection": WeightSelection(key="model")}
    assert question.model_copy(update=change).identity() == question.identity()


@pytest.mark.parametrize("what", ["chip_seed", "metrics", "targets", "weights", "images", "label"])
def test_anything_else_is_another_question(question, what):
    model = question.models[0]
    change = {
        "chip_seed": {"chip_seed": 1},
        "metrics": {"metrics": ["top5"]},
        "targets": {"targets": ["gaussian-0.1"]},
        "weights": {"models": [model.model_copy(update={"id": "other"})]},
        "label": {"models": [model.model_copy(update={"label": "other"})]},
        "images": {"images": question.images.model_copy(update={"id": "other"})},
    }[what]
    assert question.model_copy(update=change).identity() != question.identity()


def test_a_question_is_read_back_as_it_was_written(question):
    assert EvaluationSpec.model_validate_json(question.model_dump_json()) == question
    assert [target.name for target in question.build_targets()] == ["digital", "rram-milo2021"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"chips": 0}, "chips"),
        ({"precision": 0.0}, "half-width"),
        ({"precision": -1.0}, "precision"),
        ({"precision": 0.2, "chips": 1}, "chips"),
        ({"threshold": float("nan")}, "threshold"),
        ({"targets": []}, "targets"),
        ({"models": []}, "models"),
    ],
)
def test_numbers_that_cannot_be_are_refused_when_the_question_is_made(question, changes, words):
    with pytest.raises(InputError, match=words):
        parse(question.model_dump() | changes, EvaluationSpec, source="evaluate")
