"""Files of a results folder that are lost are made again or named; rows of two different weights are never mixed."""

import json

import pytest

from aimc_robust.errors import InputError, ResultsError
from aimc_robust.experiments.results.archive import pack, unpack
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.io.atomic import read_rows
from aimc_robust.models.checkpoint import read_checkpoint, write_checkpoint
from aimc_robust.report.write import write_report

RUN = "runs/m-rwp-seed0"


def untimed(rows):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def content(path):
    return untimed(read_rows(path)) if path.name == "history.jsonl" else path.read_bytes()


@pytest.mark.parametrize(
    "name",
    [
        "question.json",
        "coverage.json",
        "spec.toml",
        "evaluations.csv",
        "summary.csv",
        f"{RUN}/history.jsonl",
        f"{RUN}/evaluations.jsonl",
        f"{RUN}/checkpoint.safetensors",
    ],
)
def test_a_file_that_was_deleted_is_made_again(name, run, write_spec, comparison_copy):
    before = content(comparison_copy / name)
    (comparison_copy / name).unlink()
    if name.endswith((".csv", ".safetensors")):  # nothing asks for weights, or tables, of models that have their rows
        (comparison_copy / RUN / "evaluations.jsonl").unlink()
    assert not run(write_spec()).failed
    assert content(comparison_copy / name) == before


def test_a_truncated_history_is_whole_again(run, write_spec, comparison_copy):
    path = comparison_copy / RUN / "history.jsonl"
    rows = read_rows(path)
    path.write_text(json.dumps(rows[1]) + "\n")
    assert untimed(ComparisonResults.open(comparison_copy).histories()[Trial("m-rwp", 0)]) == untimed(rows)
    run(write_spec())
    assert untimed(read_rows(path)) == untimed(rows)


def test_the_report_names_notes_that_are_missing(run, write_spec, comparison_copy):
    for name in ("environment.json", "coverage.json"):
        (comparison_copy / name).unlink()
    page = write_report(comparison_copy).read_text()
    assert "not recorded (no coverage.json; the same command writes it)" in page
    assert "not recorded (no environment.json)" in page
    (comparison_copy / RUN / "evaluations.jsonl").unlink()
    run(write_spec())  # records where the missing rows were computed, and that it does not know of the others
    unknown, known = json.loads((comparison_copy / "environment.json").read_text())
    assert "not recorded" in unknown["environment"]
    assert "torch" in known


def test_a_folder_without_its_question_is_refused_for_another_spec(run, write_spec, comparison_copy):
    (comparison_copy / "question.json").unlink()
    with pytest.raises(ResultsError, match=r"no question\.json.*runs/.*another spec"):
        run(write_spec(("sigma = 0.1\nramp", "sigma = 0.2\nramp")))
    with pytest.raises(InputError, match=r"no question\.json"):
        write_report(comparison_copy)


def drop_last_row(folder):
    path = folder / RUN / "evaluations.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def test_rows_are_not_continued_on_other_weights(run, write_spec, comparison_copy):
    checkpoint = comparison_copy / RUN / "checkpoint.safetensors"
    rows = read_rows(comparison_copy / RUN / "evaluations.jsonl")
    tensors, metadata = read_checkpoint(checkpoint)
    write_checkpoint(checkpoint, tensors | {"classifier.bias": tensors["classifier.bias"] + 1e-6}, metadata)
    drop_last_row(comparison_copy)
    with pytest.raises(ResultsError, match=rf"{RUN} holds rows of rram-wan2022.*other weights.*delete the folder"):
        run(write_spec())
    for path in (comparison_copy / RUN).iterdir():  # the advice
        path.unlink()
    run(write_spec())
    assert read_rows(comparison_copy / RUN / "evaluations.jsonl") == rows


def test_rows_of_unknown_weights_are_not_continued(run, write_spec, comparison_copy):
    drop_last_row(comparison_copy)
    (comparison_copy / RUN / "origin.json").unlink()
    with pytest.raises(ResultsError, match=r"weights that no origin\.json names"):
        run(write_spec())


def test_a_model_that_is_trained_again_to_equal_weights_continues(run, write_spec, comparison_copy):
    rows = read_rows(comparison_copy / RUN / "evaluations.jsonl")
    drop_last_row(comparison_copy)
    (comparison_copy / RUN / "checkpoint.safetensors").unlink()
    assert not run(write_spec()).failed
    assert read_rows(comparison_copy / RUN / "evaluations.jsonl") == rows


@pytest.mark.parametrize("unpacked", [False, True])
def test_a_packed_folder_is_not_trained_anew(unpacked, run, write_spec, finished_comparison, tmp_path):
    folder = pack(finished_comparison, tmp_path / "packed").parent
    if unpacked:
        unpack(folder)
        assert not run(write_spec(), folder).failed  # every model has its rows
        drop_last_row(folder)
    before = sorted(path.relative_to(folder) for path in folder.rglob("*"))
    with pytest.raises(ResultsError, match=r"is packed.*report .*--out another folder"):
        run(write_spec(), folder)
    assert sorted(path.relative_to(folder) for path in folder.rglob("*")) == before


def test_a_folder_that_cannot_be_packed_is_told(finished_comparison, tmp_path):
    with pytest.raises(ResultsError, match="there is no folder"):
        pack(tmp_path / "nothing", tmp_path / "packed")
    with pytest.raises(ResultsError, match="outside"):
        pack(finished_comparison, finished_comparison / "packed")
    assert not (finished_comparison / "packed").exists()
