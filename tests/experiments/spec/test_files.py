"""The content of weights that a spec names by a file belongs to its identity and to its trainings."""

import re
import shutil

import pytest

from aimc_robust.data.loading import load_data
from aimc_robust.errors import CheckpointError, ResultsError
from aimc_robust.experiments.compare import compare
from aimc_robust.experiments.planning.plan import plan
from aimc_robust.experiments.recommend.run import recommend
from aimc_robust.experiments.recommend.sweep import measurement_identity
from aimc_robust.experiments.spec.files import check_files, with_file_digests
from aimc_robust.experiments.spec.loading import load_spec
from aimc_robust.models.checkpoint import write_checkpoint
from aimc_robust.models.registry import build_model

KEYS = {
    "model.weights": "model.weights='file.safetensors'",
    "teacher": "training.distillation={ teacher = 'file.safetensors' }",
}
OTHERS = ["train_seeds=[0]", "chips=1", "training.epochs=1", "metrics=[]"]


def write(folder, spec, *, seed):
    data = load_data(spec.data, data_seed=0, folder=folder, task=None)
    write_checkpoint(folder / "file.safetensors", build_model(spec.model, data, seed=seed).state_dict(), {})


@pytest.fixture(params=KEYS)
def spec(request, write_quick_spec, tmp_path):
    """A spec that names a file in `tmp_path`, which holds the weights of seed 5."""
    path = write_quick_spec()
    write(tmp_path, load_spec(path), seed=5)
    return load_spec(path, overrides=[*OTHERS, KEYS[request.param]])


def test_a_changed_file_is_another_spec_and_another_training(spec, tmp_path):
    first = with_file_digests(spec, tmp_path)
    shutil.copy(tmp_path / "file.safetensors", tmp_path / "copy.safetensors")
    write(tmp_path, spec, seed=5)
    assert with_file_digests(spec, tmp_path) == first
    write(tmp_path, spec, seed=6)
    second = with_file_digests(first, tmp_path)
    assert first.differences(second) == ["the file file.safetensors"]
    assert first.recipe("sgd", 0) != second.recipe("sgd", 0)
    with pytest.raises(CheckpointError, match=r"file\.safetensors has changed since the comparison began"):
        check_files(first, "sgd", tmp_path)
    shutil.copy(tmp_path / "copy.safetensors", tmp_path / "file.safetensors")
    check_files(first, "sgd", tmp_path)


def test_a_missing_file_has_no_digest_and_differs_from_what_it_was(spec, tmp_path):
    first = with_file_digests(spec, tmp_path)
    (tmp_path / "file.safetensors").unlink()
    assert first.differences(with_file_digests(spec, tmp_path)) == ["the file file.safetensors"]
    assert with_file_digests(spec, tmp_path).code_digests == spec.code_digests


def test_a_finished_comparison_refuses_a_changed_file(spec, tmp_path):
    out = tmp_path / "out"
    compare(spec, out, data_folder=tmp_path)
    compare(spec, out, data_folder=tmp_path)  # equal content goes on
    before = (out / "evaluations.csv").read_bytes()
    write(tmp_path, spec, seed=6)
    for call in (compare, plan):
        with pytest.raises(ResultsError, match=re.escape("different: the file file.safetensors)")):
            call(spec, out, data_folder=tmp_path)
    assert (out / "evaluations.csv").read_bytes() == before


def test_shared_models_are_those_of_the_file_s_content(spec, tmp_path):
    folders = {"model_cache": tmp_path / "models", "data_folder": tmp_path}
    compare(spec, tmp_path / "first", **folders)
    write(tmp_path, spec, seed=6)
    compare(spec, tmp_path / "second", **folders)
    compare(spec, tmp_path / "alone", data_folder=tmp_path)
    rows = {name: (tmp_path / name / "evaluations.csv").read_bytes() for name in ("first", "second", "alone")}
    assert rows["second"] == rows["alone"] != rows["first"]


def test_a_recommendation_depends_on_the_content(spec, tmp_path):
    data = load_data(spec.data, data_seed=0, folder=tmp_path, task=None)
    first = measurement_identity(spec, "rram-wan2022", data, tmp_path, None, None)
    assert first == measurement_identity(spec, "rram-wan2022", data, tmp_path, None, None)
    options = {"data_folder": tmp_path, "chips": 1, "sweep": False, "jobs": 1}
    recommend(spec, "rram-wan2022", tmp_path / "out", **options)
    recommend(spec, "rram-wan2022", tmp_path / "out", **options)
    write(tmp_path, spec, seed=6)
    assert first != measurement_identity(spec, "rram-wan2022", data, tmp_path, None, None)
    with pytest.raises(ResultsError, match="files or code that have changed"):
        recommend(spec, "rram-wan2022", tmp_path / "out", **options)


def test_specs_without_files_are_as_before(write_spec, tmp_path):
    spec = load_spec(write_spec())
    assert with_file_digests(spec, tmp_path) == spec
