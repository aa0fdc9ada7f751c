"""The main job: rows for every method, seed, target and chip, on the same chips; never mixed, never redone."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from aimc_robust import Crossbar, Gaussian, evaluate
from aimc_robust.data.batches import split_batches
from aimc_robust.data.loading import load_data
from aimc_robust.devices.library import cards_folder
from aimc_robust.errors import CheckpointError, InputError, ResultsError
from aimc_robust.experiments.execution import trial_runner
from aimc_robust.experiments.results.files import lock_folder
from aimc_robust.experiments.spec.loading import load_spec
from aimc_robust.models.checkpoint import read_checkpoint, write_checkpoint
from aimc_robust.models.registry import build_model
from aimc_robust.report.write import write_report
from aimc_robust.statistics.crossed_effects import CrossedEffects
from aimc_robust.training.loop import train


def rows_of(folder):
    return pd.read_csv(folder / "evaluations.csv")


def test_every_method_seed_target_and_chip_has_one_row(finished_comparison):
    rows = rows_of(finished_comparison)
    assert list(rows.columns) == [
        "model",
        "train_seed",
        "target",
        "backend",
        "sigma",
        "time_s",
        "chip",
        "accuracy",
        "loss",
        "n",
    ]
    counts = rows.groupby(["model", "train_seed", "target"])["chip"].apply(list)
    assert len(counts) == 2 * 2 * 3
    assert all(chips == ([0] if key[2] == "digital" else [0, 1, 2]) for key, chips in counts.items())
    assert set(rows["n"]) == {180}


def test_the_rows_are_what_evaluate_finds_for_the_stored_models(finished_comparison):
    spec = load_spec(finished_comparison / "spec.toml")
    data = load_data(spec.data, data_seed=spec.data_seed, folder=finished_comparison)
    rows = rows_of(finished_comparison)
    for trial in ("sgd-seed1", "m-rwp-seed0"):
        model = build_model(spec.model, data, seed=7)
        model.load_state_dict(read_checkpoint(finished_comparison / "runs" / trial / "checkpoint.safetensors")[0])
        method, seed = trial.split("-seed")[0], int(trial[-1])
        for name, condition in {"gaussian-0.2": Gaussian(0.2), "rram-wan2022": Crossbar("rram-wan2022")}.items():
            found = evaluate(model, split_batches(data.test, 100), condition, chips=3, chip_seed=spec.chip_seed)
            mine = rows[(rows["model"] == method) & (rows["train_seed"] == seed) & (rows["target"] == name)]
            assert list(mine["accuracy"]) == pytest.approx(list(found.table["accuracy"]), rel=1e-12)


def test_summary_holds_mean_deviations_and_interval_of_the_rows(finished_comparison):
    summary = pd.read_csv(finished_comparison / "summary.csv").set_index(["model", "target"])
    assert list(summary.columns)[:5] == ["sigma", "time_s", "mean", "ci_low", "ci_high"]
    group = (
        rows_of(finished_comparison)
        .query("model == 'sgd' and target == 'rram-wan2022'")
        .groupby("train_seed")["accuracy"]
    )
    row = summary.loc["sgd", "rram-wan2022"]
    assert row["mean"] == pytest.approx(group.mean().mean())
    assert row["sd_seed"] == pytest.approx(group.mean().std())
    assert row["sd_noise"] == pytest.approx(group.std().mean())
    half_width = CrossedEffects(np.array([values for _, values in group])).mean_error().half_width()
    assert row["ci_high"] == pytest.approx(min(row["mean"] + half_width, 100.0))


def test_a_second_call_redoes_nothing_and_changes_nothing(run, write_spec, comparison_copy):
    stamps = {p: p.stat().st_mtime_ns for p in (comparison_copy / "runs").rglob("*") if p.is_file()}
    tables = (comparison_copy / "evaluations.csv").read_bytes()
    run(write_spec())
    assert {p: p.stat().st_mtime_ns for p in stamps} == stamps
    assert (comparison_copy / "evaluations.csv").read_bytes() == tables


def test_missing_chips_are_added_to_those_that_are_there(run, write_spec, comparison_copy, finished_comparison):
    rows = comparison_copy / "runs" / "sgd-seed0" / "evaluations.jsonl"
    whole = rows.read_bytes()
    rows.write_bytes(whole[: len(whole) * 2 // 3])  # cut in the middle of a row
    run(write_spec())
    assert rows_of(comparison_copy).equals(rows_of(finished_comparison))


def test_further_seeds_are_trained_beside_those_that_are_there(run, write_quick_spec, tmp_path):
    seeds = "train_seeds = [0, 1]"
    run(write_quick_spec((seeds, "train_seeds = [1]")))
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "runs").rglob("*") if path.is_file()}
    run(write_quick_spec())
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    run(write_quick_spec(name="whole.toml"), tmp_path / "whole")
    assert rows_of(tmp_path / "out").equals(rows_of(tmp_path / "whole"))
    (tmp_path / "out" / "question.json").unlink()
    assert not run(write_quick_spec()).failed


def test_models_of_seeds_that_are_left_out_are_not_hidden(run, write_quick_spec, tmp_path):
    seeds = "train_seeds = [0, 1]"
    run(write_quick_spec((seeds, "train_seeds = [0, 1, 20]")), part=(1, 3))  # of which nothing of seed 20 is trained
    run(write_quick_spec())
    with pytest.raises(ResultsError, match=r"another spec.*chips: 3 and 4"):
        run(write_quick_spec((seeds, "train_seeds = [1]"), ("chips = 3", "chips = 4")))
    less = write_quick_spec((seeds, "train_seeds = [1]"))
    for _ in range(2):
        with pytest.raises(
            ResultsError, match=r"a model of training seed 0 \(.*-seed0\), which the spec does not name"
        ):
            run(less)
        (tmp_path / "out" / "question.json").unlink(missing_ok=True)


def test_a_diverging_run_fails_alone_with_its_reason(run, write_quick_spec, tmp_path):
    path = write_quick_spec(("[methods.sgd]", '[methods.sgd]\n[methods.wild]\nkind = "rwp"\nsigma = 1e39'))
    outcome = run(path)
    assert [str(trial) for trial in outcome.failed] == ["wild-seed0", "wild-seed1"]
    note = json.loads((tmp_path / "out" / "runs" / "wild-seed0" / "failed.json").read_text())
    assert "not finite at update 1" in note["reason"]
    assert "RWP at strength 1e+39" in note["reason"]
    assert set(rows_of(tmp_path / "out")["model"]) == {"sgd", "m-rwp"}


def test_a_model_whose_outputs_are_nan_on_a_chip_fails_with_chip_and_target(run, write_quick_spec, tmp_path):
    outcome = run(write_quick_spec(('"gaussian-0.2"', '{name = "overflow", noise = "gaussian", sigma = 1e25}')))
    assert len(outcome.failed) == 4
    reason = json.loads((tmp_path / "out" / "runs" / "sgd-seed1" / "failed.json").read_text())["reason"]
    for part in ("sgd (seed 1)", "overflow", "chip 0", "NaN"):
        assert part in reason
    assert set(rows_of(tmp_path / "out")["target"]) == {"digital"}


def test_a_failed_trial_is_tried_again_only_on_request(run, write_spec, comparison_copy):
    path, failed = write_spec(), comparison_copy / "runs" / "sgd-seed0"
    for name in ("checkpoint.safetensors", "history.jsonl", "evaluations.jsonl"):
        (failed / name).unlink()
    (failed / "failed.json").write_text('{"reason": "as if"}')
    assert list(run(path).failed.values()) == ["as if"]
    assert not run(path, retry_failed=True).failed
    assert len(rows_of(comparison_copy).query("model == 'sgd' and train_seed == 0")) == 7


def test_another_specs_folder_is_refused_and_left_alone(run, write_spec, comparison_copy):
    before = {p: p.read_bytes() for p in comparison_copy.rglob("*") if p.is_file()}
    with pytest.raises(ResultsError, match="spec"):
        run(write_spec(("chips = 3", "chips = 4"), name="other.toml"))
    assert {p: p.read_bytes() for p in comparison_copy.rglob("*") if p.is_file()} == before


def test_a_comment_in_the_spec_is_not_another_question(run, write_spec, comparison_copy):
    assert not run(write_spec(("chips = 3", "chips = 3  # as before"))).failed


def test_a_changed_card_is_another_question(run, write_spec, comparison_copy):
    question = json.loads((comparison_copy / "question.json").read_text())
    question["targets"][2]["device"]["programming"]["coefficients"][0] = 9.0
    (comparison_copy / "question.json").write_text(json.dumps(question))
    with pytest.raises(ResultsError, match="targets"):
        run(write_spec())


def test_a_folder_with_other_files_is_refused(run, write_spec, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("all my work")
    with pytest.raises(ResultsError, match="files"):
        run(write_spec())
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["thesis.txt"]


def test_a_folder_that_cannot_be_written_is_refused_before_training(run, write_spec, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match="written"):
        run(write_spec(), folder=tmp_path / "file" / "out")


@pytest.mark.slow
def test_a_read_only_folder_is_refused(write_spec, tmp_path):
    (tmp_path / "out").mkdir(mode=0o500)
    command = [sys.executable, "-m", "aimc_robust", "compare", str(write_spec()), "--out", str(tmp_path / "out")]
    if os.geteuid() == 0:  # root may write everywhere unless it gives that power up
        if shutil.which("setpriv") is None:
            pytest.skip("root may write everywhere, and there is no setpriv to give that up")
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "cannot be written" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_second_process_on_the_same_folder_is_refused(run, write_spec, comparison_copy):
    with lock_folder(comparison_copy), pytest.raises(ResultsError, match="process"):
        run(write_spec())
    assert not run(write_spec()).failed


def test_every_model_starts_from_its_own_seed_and_the_same_seed_for_every_method(run, write_quick_spec, monkeypatch):
    started = []

    def recording(model, method, *args, train_seed, **options):
        started.append((method.seed, train_seed, model.features[0].weight.detach().clone()))
        return train(model, method, *args, train_seed=train_seed, **options)

    monkeypatch.setattr(trial_runner, "train", recording)
    run(write_quick_spec())
    assert [(method, seed) for method, seed, _ in started] == [(0, 0), (0, 0), (1, 1), (1, 1)]
    first, second, third, _ = (weight for _, _, weight in started)
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


def test_a_card_beside_the_spec_is_found_from_anywhere_and_kept_with_the_results(
    run, write_quick_spec, tmp_path, monkeypatch
):
    card = (cards_folder() / "rram-wan2022.toml").read_text().replace("rram-wan2022", "mine")
    (tmp_path / "my.toml").write_text(card)
    path = write_quick_spec(('"rram-wan2022"]', '"my.toml"]'))
    monkeypatch.chdir("/")
    run(path)
    (tmp_path / "my.toml").unlink()
    assert "mine" in set(rows_of(tmp_path / "out")["target"])
    assert "W. Wan et al." in write_report(tmp_path / "out").read_text()


def test_damaged_results_are_named(run, write_spec, comparison_copy):
    path = comparison_copy / "runs" / "sgd-seed0" / "evaluations.jsonl"
    path.write_bytes(b"\0" * 20 + b"\n")
    with pytest.raises(ResultsError, match=r"evaluations\.jsonl"):
        run(write_spec())


def test_the_models_have_learned_so_that_equal_rows_mean_something(finished_comparison):
    digital = rows_of(finished_comparison).query("target == 'digital'")["accuracy"]
    assert digital.min() > 60


def test_a_checkpoint_of_another_model_is_refused_and_kept(run, write_spec, comparison_copy):
    path = comparison_copy / "runs" / "sgd-seed0" / "checkpoint.safetensors"
    tensors, notes = read_checkpoint(path)
    tensors["classifier.bias"] = tensors["classifier.bias"][:3]
    write_checkpoint(path, tensors, notes)
    before = path.read_bytes()
    (path.parent / "evaluations.jsonl").unlink()  # a trial that has all its rows needs no model any more
    with pytest.raises(CheckpointError, match=r"classifier\.bias.*3"):
        run(write_spec())
    assert path.read_bytes() == before


def test_a_method_that_needs_more_processes_is_told_before_any_training(write_spec, run, tmp_path):
    path = write_spec(("[methods.m-rwp]\n", "[methods.m-rwp]\nparallel = true\n"))
    with pytest.raises(InputError, match=r"methods\.m.*m-RWP.*got 1"):
        run(path)
    assert not (tmp_path / "out").exists()


def test_an_augmentation_that_does_not_fit_the_images_is_told_before_any_training(write_spec, run, tmp_path):
    path = write_spec(("test_share = 0.1", "test_share = 0.1\naugmentation = { cutout = 20 }"))
    with pytest.raises(InputError, match="cutout 20 is larger than the images, 8 x 8"):
        run(path)
    assert not (tmp_path / "out").exists()
