"""The task of a spec: one of the package or of the user's own, with its settings, or a sentence."""

import importlib
import sys

import pytest
from support import user_data

from aimc_robust.errors import AimcError, InputError
from aimc_robust.experiments.spec.inheritance import read_spec
from aimc_robust.experiments.spec.loading import load_spec, spec_from_dict
from aimc_robust.experiments.spec.task import TaskEntry, parse_task
from aimc_robust.io.toml import parse_value
from aimc_robust.io.user_code import user_code
from aimc_robust.statistics.primary_metric import PrimaryMetric
from aimc_robust.tasks.classification import Classification
from aimc_robust.tasks.language_modelling import LanguageModelling
from aimc_robust.tasks.model_score import ModelScore
from aimc_robust.tasks.regression import Regression

SPEC = {
    "name": "table",
    "targets": ["digital"],
    "data": {"name": "csv:table.csv"},
    "model": {"name": "mlp"},
    "training": {"epochs": 1},
    "methods": {"sgd": {}},
}
OWN = """
from aimc_robust.tasks.regression import Regression

def task(metric="rmse"):
    return Regression(metric=metric)

def score(model, batches):
    return {"map": 50.0, "recall": 60.0}

def mae(outputs, labels):
    return 0.0

def recall(outputs, labels):
    return 0.0
"""


@pytest.fixture(autouse=True)
def own(tmp_path, monkeypatch):
    """A module of the user's own, `own_task`, and that of data."""
    (tmp_path / "own_task.py").write_text(OWN)
    monkeypatch.delitem(sys.modules, "own_task", raising=False)
    importlib.invalidate_caches()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(user_data.__file__.rpartition("/")[0])
    return tmp_path / "own_task.py"


def build(**table):
    return parse_value(table, TaskEntry, source="task").build()


def test_a_spec_without_a_task_is_of_classification():
    spec = spec_from_dict(SPEC)
    assert spec.task.build() == Classification()
    assert spec.identity() == spec_from_dict(SPEC | {"task": {"kind": "classification"}}).identity()


def test_tasks_of_the_package_have_their_fields_as_keys():
    assert build(kind="regression", metric="mae") == Regression(metric="mae")
    assert build(kind="language-modelling", shift=False, ignore_index=0) == LanguageModelling(
        shift=False, ignore_index=0
    )
    assert build(ignore_index=3) == Classification(ignore_index=3)


def test_a_function_returns_a_task_and_takes_options():
    assert build(kind="own_task:task", options={"metric": "r2"}) == Regression(metric="r2")
    with pytest.raises(InputError, match="cannot be built"):
        build(kind="own_task:score")


def test_a_score_of_the_whole_model_names_its_metric():
    table = {"score": "own_task:score", "metric": "map", "unit": "%", "bounds": [0.0, 100.0]}
    task = build(kind="model-score", **table)
    assert isinstance(task, ModelScore)
    assert task.score(None, []) == {"map": 50.0, "recall": 60.0}
    assert task.primary == PrimaryMetric("map", "%", "higher", (0.0, 100.0))
    absent = {"kind": "model-score", **table, "score": "absent:score"}  # results are read without the function
    assert parse_value(absent, TaskEntry, source="task").primary == task.primary
    lower = build(kind="model-score", **table | {"better": "lower", "bounds": [0.0, "inf"]})
    assert (lower.primary.better, lower.primary.bounds) == ("lower", (0.0, float("inf")))


FAULTS = {
    "unknown": ({"kind": "regresion"}, ["task", "'regression'", "package.module:function"]),
    "no text": ({"kind": 3}, ["task", "3"]),
    "no table": ("regression", ["task", "{ kind", "'regression'"]),
    "unknown key": ({"kind": "regression", "metrc": "mae"}, ["task", "'metric'"]),
    "unknown metric": ({"kind": "regression", "metric": "mse"}, ["task.metric", "'mse'"]),
    "standard library": ({"kind": "os:system"}, ["task.kind", "os", "standard library"]),
    "score of a comparison": ({"kind": "model-score", "score": "a:b", "metric": "map"}, ["task", "no loss"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_task_that_cannot_be_is_refused_by_its_key(fault):
    table, words = FAULTS[fault]
    with pytest.raises(AimcError) as caught:
        spec_from_dict(SPEC | {"task": table})
    assert [word for word in words if word not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"metric": "loss"}, "'loss'"),
        ({"metric": "mean"}, "'mean'"),
        ({"metric": "a b"}, "'a b'"),
        ({"better": "less"}, "better"),
        ({"bounds": [1.0, 0.0]}, "bounds"),
        ({"bounds": [0.0]}, "bounds"),
        ({"bounds": [0.0, "infinity"]}, "bounds"),
        ({"score": "score"}, "package.module:function"),
        ({"score": "os:system"}, "standard library"),
    ],
)
def test_a_score_that_cannot_be_is_refused(changes, word):
    table = {"kind": "model-score", "score": "own_task:score", "metric": "map"} | changes
    with pytest.raises(InputError, match=word):
        parse_value(table, TaskEntry, source="task")


@pytest.mark.parametrize("kind", ["regression", "multilabel"])
def test_label_smoothing_is_for_classes(kind):
    task = {"task": {"kind": kind}}
    assert spec_from_dict(SPEC | task).config().label_smoothing == 0.0
    assert spec_from_dict(SPEC).config().label_smoothing == 0.1
    with pytest.raises(InputError, match=r"methods\.sgd.*label_smoothing"):
        spec_from_dict(SPEC | task | {"training": {"epochs": 1, "label_smoothing": 0.1}})
    with pytest.raises(InputError, match=r"methods\.sgd.*label_smoothing"):
        spec_from_dict(SPEC | task | {"methods": {"sgd": {"training": {"label_smoothing": 0.1}}}})


def test_a_metric_with_the_name_of_one_of_the_task_is_refused():
    assert spec_from_dict(SPEC | {"metrics": ["own_task:mae"]}).metrics == ["own_task:mae"]
    with pytest.raises(InputError, match="'mae'"):
        spec_from_dict(SPEC | {"metrics": ["own_task:mae"], "task": {"kind": "regression"}})


def test_nothing_is_imported_when_a_spec_is_read(own):
    own.write_text("raise RuntimeError('imported')")
    for task in ({"kind": "own_task:task"}, {"kind": "own_task:task", "options": {"metric": "mae"}}):
        spec = spec_from_dict(SPEC | {"task": task, "data": {"name": "own_task:data"}})
        with pytest.raises(InputError, match="imported"):
            spec.task.build()


def test_changed_code_is_another_spec(own):
    values = SPEC | {"task": {"kind": "own_task:task"}, "data": {"name": "own_task:data"}}
    values["methods"] = {"sgd": {}, "other": {"kind": "sgd", "data": {"name": "user_data:linear"}}}
    before = spec_from_dict(values)
    assert set(before.code_digests) == {"own_task:task", "own_task:data", "user_data:linear"}
    assert before.differences(spec_from_dict(values)) == []
    own.write_text(OWN + "# changed\n")
    after = spec_from_dict(values)
    assert before.differences(after) == ["the code of own_task:task", "the code of own_task:data"]
    assert before.recipe("sgd", 0) != after.recipe("sgd", 0)


def test_results_of_another_task_are_not_continued():
    regression, other = (spec_from_dict(SPEC | {"task": {"kind": kind}}) for kind in ("regression", "multilabel"))
    assert regression.differences(other) == ["task.kind: 'regression' and 'multilabel'"]
    recipes = {spec.recipe("sgd", 0) for spec in (regression, other, spec_from_dict(SPEC))}
    assert len(recipes) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"task": {"kind": "own_task:task"}},
        {"data": {"name": "own_task:data"}},
        {"methods": {"other": {"kind": "sgd", "data": {"name": "own_task:data"}}}},
    ],
)
def test_no_user_code_refuses_tasks_and_data_before_anything_is_imported(changes, own):
    own.write_text("raise RuntimeError('imported')")
    with user_code(False), pytest.raises(InputError, match=r"own_task:.*--no-user-code"):
        spec_from_dict(SPEC | changes)


def test_a_spec_that_names_another_task_drops_the_keys_of_the_first(tmp_path):
    (tmp_path / "base.toml").write_text('name = "a"\n[task]\nkind = "regression"\nmetric = "mae"\n')
    (tmp_path / "other.toml").write_text('extends = "base.toml"\n[task]\nkind = "multilabel"\n')
    (tmp_path / "same.toml").write_text('extends = "base.toml"\n[task]\nmetric = "r2"\n')
    assert read_spec(tmp_path / "other.toml")["task"] == {"kind": "multilabel"}
    assert read_spec(tmp_path / "same.toml")["task"] == {"kind": "regression", "metric": "r2"}


def test_overrides_set_keys_of_the_task(write_spec):
    spec = load_spec(write_spec(("[data]", '[task]\nkind = "regression"\n[data]')), overrides=["task.metric=r2"])
    assert spec.task.build() == Regression(metric="r2")


def test_the_command_line_gives_a_kind_and_keys():
    assert parse_task("regression", {"metric": "mae"}).build() == Regression(metric="mae")
    with pytest.raises(InputError, match=r"task\.KEY=VALUE"):
        parse_task("regression", 3)
